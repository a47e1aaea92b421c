"""Checks of plans: no policy may call a function of ours once per row, for any reader and table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from psycopg import sql

from neurant.verify.catalog import Connection, Table
from neurant.verify.checks import Cell
from neurant.verify.principals import principals
from neurant.verify.probe import Probe, try_all
from neurant.verify.rows import Fixture

_OURS = re.compile(r"\bprivate\.\w+\(")
_PER_ROW = ("Filter", "Index Cond", "Recheck Cond", "Join Filter", "Hash Cond")


def plan_cells(connection: Connection, fixture: Fixture, worker_login: bool) -> Iterator[Cell]:
    """Yield a cell for the EXPLAIN of every table for each of its readers."""
    asking = principals(fixture, worker_login=worker_login)
    pairs = [
        (table, principal, _explain(table, columns))
        for table in fixture.catalog.tables.values()
        for principal in asking
        if (columns := table.granted(principal.identity.role, "select"))
    ]
    outcomes = try_all(
        connection, [Probe(who.identity, statement, fetch=True) for _, who, statement in pairs]
    )
    for (table, who, _), outcome in zip(pairs, outcomes, strict=True):
        found = [outcome.summary] if outcome.state else list(_per_row(outcome.value))
        yield Cell(
            "plans", who.name, table.name, "select", "", "helpers once per statement",
            "; ".join(found) or "once per statement", not found,
        )  # fmt: skip


def _explain(table: Table, columns: frozenset[str]) -> sql.Composed:
    first = sql.Identifier(next(name for name in table.columns if name in columns))
    return sql.SQL("explain (format json, verbose) select {} from {}").format(first, table.sql)


def _per_row(plan: Any) -> Iterator[str]:
    """Yield the conditions of a plan that call a function of ours per row."""
    if isinstance(plan, list):
        for one in plan:
            yield from _per_row(one)
    elif isinstance(plan, dict):
        for name, value in plan.items():
            if name in _PER_ROW and isinstance(value, str) and _OURS.search(value):
                yield f"{name}: {value}"
            elif isinstance(value, (dict, list)):
                yield from _per_row(value)
