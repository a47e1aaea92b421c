"""Checks of constraints: no row references another company, and no unique index is missing."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence

from psycopg import sql

from neurant.verify import exceptions, expectations
from neurant.verify.catalog import Connection, ForeignKey, Table, Unique, quoted
from neurant.verify.checks import Check, Verdict
from neurant.verify.probe import Identity, Outcome, Probe
from neurant.verify.rows import OTHER, ROW_SETS, Fixture, Row, new_value

_ADMINISTRATOR = Identity("none")
_FROM = "owner"  # the row set whose references are changed


def reference_checks(fixture: Fixture, table: Table) -> Iterator[Check]:
    """Yield checks that change each reference of acme's row to rival's row, and to no row.

    Both must be refused in the same way.
    """
    row = fixture.rows[table.name].get(_FROM)
    if row is None:
        return
    for key in expectations.constraints()[table.name].references:
        if key.target not in fixture.catalog.tables:
            continue
        target = fixture.catalog.tables[key.target]
        columns = [name for name in key.columns if name != table.company]
        foreign = _foreign_row(fixture, key)
        if target.company is None or not columns or foreign is None:
            continue
        theirs = {name: foreign[key.target_columns[key.columns.index(name)]] for name in columns}
        unknown = {name: uuid.uuid4() for name in columns}
        yield Check(
            "references", "administrator", table.name, key.name,
            f"to {key.target} of the other company", "refused, as an unknown id is",
            tuple(Probe(_ADMINISTRATOR, _turn(table, row, to)) for to in (theirs, unknown)),
            _refused_alike,
        )  # fmt: skip


def _foreign_row(fixture: Fixture, key: ForeignKey) -> Row | None:
    if key.target == "public.users":
        return fixture.people[OTHER, "owner"]
    return fixture.row(key.target, OTHER)


def _turn(table: Table, row: Row, to: Row) -> sql.Composed:
    changes = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value))
        for name, value in to.items()
    )
    return sql.SQL("update {} set {} where {}").format(table.sql, changes, exactly(table, row))


def exactly(table: Table, row: Row) -> sql.Composed:
    """Return a condition that matches only this row."""
    return sql.SQL(" and ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(row[name]))
        for name in table.key
    )


def _refused_alike(outcomes: Sequence[Outcome]) -> Verdict:
    foreign, unknown = outcomes
    if foreign.state is None or unknown.state is None:
        return f"accepted: {foreign.summary} / {unknown.summary}", False
    alike = (foreign.state, foreign.message) == (unknown.state, unknown.message)
    return foreign.summary if alike else f"told apart: {foreign.summary} / {unknown.summary}", alike


def unique_checks(connection: Connection, fixture: Fixture, table: Table) -> Iterator[Check]:
    """Yield checks that each unique index refuses a duplicate row."""
    row_set = next((s for s in ROW_SETS if s.name in fixture.rows[table.name]), None)
    row = (
        fixture.rows[table.name][row_set.name]
        if row_set
        else next(iter(fixture.rows[table.name].values()), None)
    )
    if row is None:
        return
    who = exceptions.writer(fixture, table.name, row_set) if row_set else None
    for unique in expectations.constraints()[table.name].uniques:
        if not unique.columns or set(table.key) <= set(unique.columns):
            continue  # an index on expressions, or on the primary key's own columns
        probe = Probe(
            who or _ADMINISTRATOR,
            _copy(connection, fixture, table, unique, row, who),
            before=_fill(connection, fixture, table, unique, row),
        )
        yield Check(
            "uniques", "administrator", table.name, "insert a second", unique.name, "refused",
            (probe,), _judge(unique),
        )  # fmt: skip


def _fill(
    connection: Connection, fixture: Fixture, table: Table, unique: Unique, row: Row
) -> tuple[sql.Composed, ...]:
    """Return statements that bring the row under the index, if a column of it is null."""
    empty = [
        name
        for name in unique.columns
        if row.get(name) is None and name not in _foreign_columns(table)
    ]
    changes = {name: new_value(connection, fixture, table, name) for name in empty}
    return (_turn(table, row, changes),) if changes else ()


def _foreign_columns(table: Table) -> set[str]:
    return {name for key in table.keys for name in key.columns}


def _copy(
    connection: Connection,
    fixture: Fixture,
    table: Table,
    unique: Unique,
    row: Row,
    who: Identity | None,
) -> sql.Composed:
    """Return a copy of a row, equal in the index and new (or null) in all other unique columns."""
    others = {name for other in table.uniques if other is not unique for name in other.columns}
    fresh = others - set(unique.columns) - {"company_id"}
    granted = table.granted(who.role, "insert") if who else frozenset(table.columns)
    columns = [c for c in table.columns.values() if c.filled != "database" and c.name in granted]

    def value(name: str) -> sql.Composable:
        if name not in fresh:
            return sql.Identifier(name)
        if name in _foreign_columns(table):
            return sql.Identifier(name) if table.columns[name].required else sql.SQL("null")
        return sql.Literal(new_value(connection, fixture, table, name))

    return sql.SQL(
        "insert into {table} ({columns}) select {values} from {table}"
        " where {company} = {whose} and ({condition}) limit 1"
    ).format(
        table=table.sql,
        columns=sql.SQL(", ").join(sql.Identifier(column.name) for column in columns),
        values=sql.SQL(", ").join(value(column.name) for column in columns),
        company=sql.Identifier(table.company or ""),
        whose=sql.Literal(row[table.company or ""]),
        condition=quoted(unique.predicate or "true"),
    )


def _judge(unique: Unique) -> Callable[[Sequence[Outcome]], Verdict]:
    def judge(outcomes: Sequence[Outcome]) -> Verdict:
        [outcome] = outcomes
        if outcome.state is None:
            return ("accepted", False) if outcome.value else ("no row to copy", False)
        return outcome.summary, outcome.state == "23505" and outcome.constraint == unique.name

    return judge
