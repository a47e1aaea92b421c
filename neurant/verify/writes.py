"""Trials of triggers: a row is inserted, each of its columns updated, and the row deleted.

The effects are recorded. Each trial runs as the administrator, so that only the triggers matter,
and as the company's owner as far as the owner's rights go, because a trigger may depend on the
writer.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

from psycopg import sql

from neurant.verify import exceptions
from neurant.verify.catalog import Column, Connection, Table
from neurant.verify.expectations import constraints
from neurant.verify.families import other, unlike
from neurant.verify.oracle import Attempt
from neurant.verify.principals import Principal
from neurant.verify.probe import Identity
from neurant.verify.references import exactly
from neurant.verify.rows import OWN, ROW_SETS, Fixture, compose, insert
from neurant.verify.watch import Trial

_TOUCHED = "update_updated_at_column"
_STRAND, _ANOTHER = "operador", "supervisor"


def writes(
    connection: Connection, fixture: Fixture, table: Table, owner: Principal
) -> Iterator[Attempt]:
    """Yield every trial of the table's committed triggers, if it has triggers of ours."""
    ours = [one for one in constraints()[table.name].triggers if _TOUCHED not in one.definition]
    if not ours:
        return
    rows = fixture.rows[table.name]
    tag = _STRAND if _STRAND in rows else next(iter(rows))
    row_set = next((one for one in ROW_SETS if one.name == tag), ROW_SETS[0])
    place = exactly(table, rows[tag])
    administrator = Principal("administrator", Identity("none"))
    for who in (administrator, owner):
        for operation, condition, statement in _statements(
            connection, fixture, table, row_set.name, who, place
        ):
            writer = (
                exceptions.writer(fixture, table.name, row_set) if operation == "insert" else None
            )
            identity = (writer or who.identity) if who is administrator else who.identity
            trial = Trial(identity, statement.as_string(connection), fetch=False)
            yield Attempt(f"{table.name} {operation}", who.name, condition, trial)


def _statements(
    connection: Connection,
    fixture: Fixture,
    table: Table,
    tag: str,
    who: Principal,
    place: sql.Composed,
) -> Iterator[tuple[str, str, sql.Composed]]:
    free = who.identity.role == "none"
    row_set = next(one for one in ROW_SETS if one.name == tag)
    adding = None if free else table.granted(who.identity.role, "insert")
    writer = exceptions.writer(fixture, table.name, row_set)
    if free and writer:
        adding = table.granted(writer.role, "insert")
    if adding is None or adding:
        fresh = compose(connection, fixture, table, row_set, adding)
        yield "insert", "a row comes", insert(table, unlike(connection, fixture, table, fresh))
    changing = table.columns if free else table.granted(who.identity.role, "update")
    for name, column in table.columns.items():
        if name in changing and name not in (*table.key, "updated_at") and _writable(column.filled):
            statement = sql.SQL("update {} set {} = {} where {}").format(
                table.sql, sql.Identifier(name), _other(fixture, table, column), place
            )
            yield "update", f"{name} changes", statement
    if free or table.granted(who.identity.role, "delete"):
        yield "delete", "it goes", sql.SQL("delete from {} where {}").format(table.sql, place)


def _other(fixture: Fixture, table: Table, column: Column) -> sql.Composable:
    """Return another value; for an id, the id of another row set."""
    if column.type != "uuid":
        return other(column)
    row = fixture.rows[table.name].get(_ANOTHER) or next(iter(fixture.rows[table.name].values()))
    value = row.get(column.name)
    if value is None and any(
        key.target == "public.users" and column.name in key.columns for key in table.keys
    ):
        value = fixture.people[OWN, "colleague"]["id"]
    return sql.Literal(value if value is not None else uuid.uuid4())


def _writable(filled: str) -> bool:
    return filled != "database"
