"""Cases for triggers that exist on many tables and do the same there: one case for all of them.

A family (``[[family]]`` in ``effects.toml``) selects its triggers by a pattern and names a count
that must rise when a row is inserted, updated or deleted, according to the trigger.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from psycopg import sql

from neurant.verify import exceptions
from neurant.verify.catalog import Column, Connection, Table, Trigger, quoted
from neurant.verify.checks import Check, Verdict
from neurant.verify.expectations import constraints
from neurant.verify.probe import Identity, Outcome, Probe
from neurant.verify.references import exactly
from neurant.verify.rows import OWN, ROW_SETS, Fixture, Row, compose, filled, insert, new_value

_ROW_SET = next(row_set for row_set in ROW_SETS if row_set.name == "operador")


def family_checks(
    connection: Connection,
    fixture: Fixture,
    families: Sequence[Mapping[str, Any]],
    only: frozenset[str] | None,
) -> Iterator[Check]:
    """Yield one check for every committed trigger of a family."""
    for table in fixture.catalog.tenant_tables():
        if only is not None and table.name not in only:
            continue
        for trigger in committed(table.name):
            for family in families:
                if re.fullmatch(family["triggers"], trigger.name):
                    yield from _check(connection, fixture, family, table, trigger)


def committed(table: str) -> list[Trigger]:
    """Return the triggers that the table must have, as committed."""
    return constraints()[table].triggers


def _check(
    connection: Connection,
    fixture: Fixture,
    family: Mapping[str, Any],
    table: Table,
    trigger: Trigger,
) -> Iterator[Check]:
    rows = fixture.rows[table.name]
    row = rows.get(_ROW_SET.name) or next(iter(rows.values()), None)
    if row is None or f"{table.name} {trigger.name}" in family.get("untried", []):
        return
    comes = " INSERT" in trigger.definition.partition(" ON ")[0]
    who = exceptions.writer(fixture, table.name, _ROW_SET) if comes else None
    told = family.get("do", {}).get(f"{table.name} {trigger.name}")
    statement = (
        filled(fixture, told, _ROW_SET.name)
        if told
        else _statement(connection, fixture, table, trigger, row, who)
    )
    company = sql.Literal(fixture.companies[OWN]).as_string(connection)
    count = quoted(family["rises"].replace("{company}", company))
    remember = sql.SQL("select set_config('neurant.before', ({})::text, true)").format(count)
    given = sql.Composed([quoted(family.get("given", "select 1").replace("{company}", company))])
    after = sql.SQL("select to_jsonb(({}) > current_setting('neurant.before')::integer)").format(
        count
    )
    probe = Probe(who or Identity("none"), statement, before=(given, remember), after=after)
    yield Check(
        "effects", "administrator", f"{table.name} {trigger.name}", "write", family["why"],
        "follows", (probe,), _rises,
    )  # fmt: skip


def _statement(
    connection: Connection,
    fixture: Fixture,
    table: Table,
    trigger: Trigger,
    row: Row,
    who: Identity | None,
) -> sql.Composed:
    """Return a statement that fires the trigger: an insert, else an update, else a delete."""
    event = trigger.definition.partition(" ON ")[0]
    if " INSERT" in event:
        only = table.granted(who.role, "insert") if who else None
        fresh = compose(connection, fixture, table, _ROW_SET, only)
        return insert(table, unlike(connection, fixture, table, fresh))
    if " UPDATE" in event:
        named = re.findall(r"\bnew\.(\w+)", trigger.definition) or re.findall(r"\w+", event)
        columns = [table.columns[name] for name in named if name in table.columns]
        linked = {name for key in table.keys for name in key.columns}
        free = [column for column in columns if column.name not in linked] or columns
        change = next((c for c in free if c.type in ("text", "character varying")), free[0])
        return sql.SQL("update {} set {} = {} where {}").format(
            table.sql, sql.Identifier(change.name), other(change), exactly(table, row)
        )
    return sql.SQL("delete from {} where {}").format(table.sql, exactly(table, row))


def other(column: Column) -> sql.Composable:
    """Return an expression for a value that differs from the column's present one."""
    name = sql.Identifier(column.name)
    if column.labels:
        labels = sql.SQL("case when {0}::text = {1} then {2} else {1} end::{3}")
        return labels.format(name, column.labels[0], column.labels[-1], quoted(column.type))
    if column.type in ("text", "character varying"):
        return sql.SQL("coalesce({}, '') || 'x'").format(name)
    if column.type.startswith("timestamp"):
        return sql.SQL("coalesce({}, now()) + interval '1 day'").format(name)
    if column.type == "boolean":
        return sql.SQL("not coalesce({}, false)").format(name)
    if column.type == "bytea":
        return sql.SQL("sha256(coalesce({}, ''))").format(name)
    if column.type == "jsonb":
        return sql.SQL("{} || '{{\"verify\": 1}}'").format(name)
    if column.type.endswith("[]"):
        return sql.SQL("coalesce({0}, '{{}}') || {0}").format(name)
    if column.type in ("inet", "interval", "date"):
        value = {"inet": "192.0.2.99", "interval": "99 minutes", "date": "2026-01-02"}[column.type]
        return sql.Literal(value)
    if column.type == "extensions.vector":
        return sql.SQL("null")
    return sql.SQL("coalesce({}, 0) + 1").format(name)


def unlike(connection: Connection, fixture: Fixture, table: Table, fresh: Row) -> Row:
    """Return the row with new values in the columns that must be unique."""
    linked = {name for key in table.keys for name in key.columns}
    for unique in table.uniques:
        for name in unique.columns:
            column = table.columns[name]
            if name in fresh and name not in linked and not column.labels:
                fresh[name] = new_value(connection, fixture, table, name)
    return fresh


def _rises(outcomes: Sequence[Outcome]) -> Verdict:
    [outcome] = outcomes
    if outcome.state is not None:
        return outcome.summary, False
    return ("follows", True) if outcome.value is True else ("nothing follows", False)
