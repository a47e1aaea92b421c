"""The whole matrix on one connection, in the caller's transaction, which the caller rolls back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from psycopg.types.string import TextLoader

from neurant.verify import expectations, trials
from neurant.verify.catalog import Catalog, Connection, read_catalog
from neurant.verify.catalog_rules import rule_cells
from neurant.verify.checks import Cell, Check, run
from neurant.verify.effects import effect_checks, families, triggers_without_case
from neurant.verify.families import family_checks
from neurant.verify.functions import call_checks, plain_call_checks
from neurant.verify.oracle import furnish
from neurant.verify.plans import plan_cells
from neurant.verify.principals import principals, strangers
from neurant.verify.privileges import execute_checks, privilege_checks
from neurant.verify.recorded import Record
from neurant.verify.references import reference_checks, unique_checks
from neurant.verify.rows import Fixture, make_fixture
from neurant.verify.symbols import Symbols
from neurant.verify.tables import Scene, row_checks, stranger_checks, sweep_checks, view_check
from neurant.verify.trials import Stage, oracle_cells


@dataclass(frozen=True)
class Matrix:
    """A connection with the fixture rows in place, ready for any number of trials."""

    connection: Connection
    fixture: Fixture
    worker_login: bool
    thorough: bool
    stage: Stage  # for the oracles


def prepare(connection: Connection, *, thorough: bool = False) -> Matrix:
    """Insert the fixture companies. ``connection`` is in a transaction that will be rolled back.

    ``thorough`` also tries UPDATE and DELETE without WHERE. With a broken policy these reach every
    company's rows (and lock them until the rollback), so they are not for live databases.
    """
    for name in ("timestamptz", "timestamp", "date"):  # Python has no infinite date
        connection.adapters.register_loader(name, TextLoader)
    connection.execute("select set_config('TimeZone', 'UTC', true)")
    row = connection.execute(
        "select r.rolsuper, pg_current_xact_id()::xid::text, now()::text,"
        " not exists (select from public.companies)"
        " from pg_roles r where r.rolname = session_user"
    ).fetchone()
    assert row is not None  # noqa: S101  the session's role always exists
    is_super, since, now, alone = row
    fixture = make_fixture(connection, read_catalog(connection))
    symbols = Symbols(fixture, datetime.fromisoformat(now), furnish(connection, fixture))
    stage = Stage(connection, fixture, symbols, since, bool(is_super), bool(alone))
    return Matrix(connection, fixture, bool(is_super), thorough, stage)


def cells(
    matrix: Matrix, only: frozenset[str] | None = None, *, columns: bool = True
) -> Iterator[Cell]:
    """Yield every cell, or those about these tables and functions, by the catalog as it is now.

    Without ``columns`` the rights on columns, most of the cells, are omitted.
    """
    catalog = read_catalog(matrix.connection)
    matrix.fixture.catalog = catalog
    yield from _completeness(matrix, catalog)
    yield from run(matrix.connection, _checks(matrix, catalog, only, columns))
    yield from oracle_cells(matrix.stage, only)


def record(matrix: Matrix) -> Record:
    """Return the present outcome of every trial of the oracles, to be committed."""
    return trials.record(matrix.stage)


def catalog_rules(matrix: Matrix) -> Iterator[Cell]:
    """Yield the cells of the catalog rules."""
    yield from rule_cells(matrix.connection, read_catalog(matrix.connection))
    yield from plan_cells(matrix.connection, matrix.fixture, matrix.worker_login)


def _checks(
    matrix: Matrix, catalog: Catalog, only: frozenset[str] | None, columns: bool
) -> Iterator[Check]:
    fixture = matrix.fixture
    asking = principals(fixture, worker_login=matrix.worker_login)
    outside = list(strangers(fixture, worker_login=matrix.worker_login))
    for table in catalog.tables.values():
        if only is not None and table.name not in only:
            continue
        if columns:
            yield from privilege_checks(table)
        if table.company and table.kind in "vm" and table.name in expectations.tables():
            for principal in asking:
                yield view_check(Scene(matrix.connection, fixture, table, principal))
            for stranger in outside:
                yield from stranger_checks(
                    Scene(matrix.connection, fixture, table, asking[0]), stranger
                )
        if not table.company or table.name not in fixture.rows:
            continue
        for principal in asking:
            scene = Scene(matrix.connection, fixture, table, principal)
            if table.name in expectations.tables():
                yield from row_checks(scene)
                if matrix.thorough:
                    yield from sweep_checks(scene)
        yield from reference_checks(fixture, table)
        yield from unique_checks(matrix.connection, fixture, table)
        for stranger in outside:
            yield from stranger_checks(scene, stranger)
    yield from effect_checks(fixture, asking, only)
    yield from family_checks(matrix.connection, fixture, families(), only)
    for function in catalog.functions.values():
        if only is None or function.signature in only:
            yield from execute_checks(function)
            yield from call_checks(fixture, function, asking)
            yield from plain_call_checks(fixture, function, asking, thorough=matrix.thorough)


def _completeness(matrix: Matrix, catalog: Catalog) -> Iterator[Cell]:
    """Yield cells for completeness.

    Every table must be classified and have rows, and every function must be listed.
    """
    known = expectations.tables()
    for name, table in catalog.tables.items():
        if name not in known:
            yield _unclassified("tables", name, "not classified: add it to tables.toml", "table")
        elif table.company and name in matrix.fixture.missing:
            yield _unclassified("tables", name, f"no rows: {matrix.fixture.missing[name]}", "rows")
        else:
            yield Cell("tables", "", name, "", "", "classified", "classified", True)
    for name in known.keys() - catalog.tables.keys():
        yield _unclassified("tables", name, "no such table")
    for trigger in triggers_without_case(catalog):
        yield _unclassified("effects", trigger, "no case in effects.toml", "trigger")
    for signature in catalog.functions.keys() - expectations.functions().keys():
        told = "not classified: add it to functions.txt"
        yield _unclassified("functions", signature, told, "function")


def _unclassified(area: str, name: str, why: str, undeclared: str = "") -> Cell:
    return Cell(area, "", name, "", "", "classified", why, False, undeclared)
