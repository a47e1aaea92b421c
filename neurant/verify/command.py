"""``neurant verify``: the matrix on a live database, in one transaction that is always rolled back.

It inserts rows of two fixture companies and tries everything on them. It holds no lock that others
wait for: none on a table beyond that of an INSERT, none on a live row except, for milliseconds, on
referenced rows (a plan, a template, an embedding model). Sequences may skip numbers; no other trace
remains.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg

from neurant.core.db.connection import with_timeouts
from neurant.core.errors import SetupError, first_line
from neurant.verify.checks import Cell
from neurant.verify.report import Report
from neurant.verify.run import catalog_rules, cells, prepare
from neurant.verify.trials import left_out

_ENOUGH = 500


def verify(url: str) -> Report:
    """Try everything on the database of ``url``, whose login must bypass row security.

    Raises SetupError if the database does not answer or the login lacks the right.
    """
    if not url.startswith(("postgresql://", "postgres://")):
        raise SetupError("setup.not_a_database_url")
    try:
        connection = psycopg.connect(
            with_timeouts(url), connect_timeout=10, application_name="neurant-verify"
        )
    except psycopg.Error as error:
        raise SetupError("setup.database_unreachable", reason=first_line(error)) from error
    with connection:
        try:
            with connection.transaction(force_rollback=True):
                return _report(connection)
        except psycopg.Error as error:
            raise SetupError("setup.database_refused", reason=first_line(error)) from error


def _report(connection: psycopg.Connection) -> Report:
    started = time.monotonic()
    # Other sessions come first, so a lock is not awaited for long.
    connection.execute("select set_config('lock_timeout', '3s', true)")
    row = connection.execute(
        "select r.rolsuper or r.rolbypassrls, to_regclass('public.companies') is not null"
        " from pg_roles r where r.rolname = session_user"
    ).fetchone()
    if row is None or not row[0]:
        raise SetupError("setup.verify_needs_rights")
    if not row[1]:
        raise SetupError("setup.verify_nothing_there")
    matrix = prepare(connection)
    found = [*_until_hopeless(cells(matrix)), *catalog_rules(matrix)]
    return Report(
        database=connection.info.dbname,
        server=f"PostgreSQL {connection.info.server_version // 10000}",
        made=datetime.now(UTC),
        seconds=time.monotonic() - started,
        rows=sum(len(rows) for rows in matrix.fixture.rows.values()),
        cells=found,
        unverified=[] if matrix.worker_login else ["worker"],
        left_out=left_out(matrix.stage),
    )


def _until_hopeless(found: Iterator[Cell]) -> Iterator[Cell]:
    """Yield the cells, but stop after hundreds of wrong ones, each of which can take long."""
    wrong = 0
    for cell in found:
        yield cell
        wrong += not cell.ok
        if wrong >= _ENOUGH:
            return
