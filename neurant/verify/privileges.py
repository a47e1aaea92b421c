"""Checks of the rights on columns: each role tries each operation on each column, on no row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from psycopg import sql

from neurant.verify import expectations
from neurant.verify.catalog import Column, Function, Table, quoted
from neurant.verify.checks import Check, Verdict
from neurant.verify.principals import ROLES
from neurant.verify.probe import Identity, Outcome, Probe

_SERVING = [role for role in ROLES if role != "neurant_owner"]
_OTHER_RIGHTS = ("truncate", "references", "trigger", "maintain")


def privilege_checks(table: Table) -> Iterator[Check]:
    """Yield the checks of every role, column and operation of a table."""
    granted = expectations.grants()
    for role in _SERVING:
        for operation in expectations.OPERATIONS:
            allowed = granted.get((table.name, role, operation), frozenset())
            if "*" in allowed:
                allowed = frozenset(table.columns)
            if operation == "delete":
                yield _attempt(table, role, operation, [], bool(allowed))
                continue
            mine = [name for name in table.columns if name in allowed]
            if mine:
                yield _attempt(table, role, operation, mine, True)
            for name in table.columns:
                if name not in allowed:
                    yield _attempt(table, role, operation, [name], False)
        yield _other_rights(table, role)


def _attempt(table: Table, role: str, operation: str, names: list[str], allowed: bool) -> Check:
    columns = [table.columns[name] for name in names]
    told = ", ".join(names) or "row"
    probe = Probe(Identity(role), _statement(table, operation, columns))
    return Check(
        "columns", role, table.name, operation, told if len(names) < 2 else "all that are granted",
        "allowed" if allowed else "refused", (probe,), _granted if allowed else _denied,
    )  # fmt: skip


def _statement(table: Table, operation: str, columns: list[Column]) -> sql.Composed:
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
    if operation == "select":
        return sql.SQL("select {} from {} where false").format(names, table.sql)
    if operation == "delete":
        return sql.SQL("delete from {} where false").format(table.sql)
    if operation == "update":
        changes = sql.SQL(", ").join(
            sql.SQL("{} = default").format(sql.Identifier(column.name)) for column in columns
        )
        return sql.SQL("update {} set {} where false").format(table.sql, changes)
    nulls = sql.SQL(", ").join(
        sql.SQL("null::{}").format(quoted(column.type)) for column in columns
    )
    return sql.SQL("insert into {} ({}) overriding system value select {} where false").format(
        table.sql, names, nulls
    )


def _denied(outcomes: Sequence[Outcome]) -> Verdict:
    [outcome] = outcomes
    # Nobody can write a generated column (428C9) and most views (55000).
    return outcome.summary, outcome.denied or outcome.state in ("428C9", "55000")


def _granted(outcomes: Sequence[Outcome]) -> Verdict:
    [outcome] = outcomes
    return outcome.summary, outcome.state in (None, "428C9")


def _other_rights(table: Table, role: str) -> Check:
    """Return a check of rights that are read and not tried:

    TRUNCATE locks, a trigger needs a function.
    """
    asked = sql.SQL("select to_jsonb(coalesce({}))").format(
        sql.SQL(" || ").join(
            sql.SQL("case when has_table_privilege({}, {}, {}) then {} else '' end").format(
                role, table.name, right, f"{right} "
            )
            for right in _OTHER_RIGHTS
        )
    )

    def judge(outcomes: Sequence[Outcome]) -> Verdict:
        [outcome] = outcomes
        return outcome.summary if outcome.state else str(outcome.value), outcome.value == ""

    return Check(
        "columns", role, table.name, "truncate, references, trigger, maintain", "", "refused",
        (Probe(Identity("none"), asked, fetch=True),), judge,
    )  # fmt: skip


def execute_checks(function: Function) -> Iterator[Check]:
    """Yield a check per role that calls the function with ``where false``, so that nothing runs."""
    allowed = expectations.functions().get(function.signature, frozenset())
    arguments = sql.SQL(", ").join(
        # The null is in a subquery; otherwise the planner skips a strict function and its check.
        sql.SQL("(select null::{})").format(quoted(type_))
        for _, type_ in function.arguments
    )
    call = sql.SQL("select {}({} {}) where false").format(
        sql.Identifier(*function.name.split(".")),
        sql.SQL("variadic" if function.variadic else ""),
        arguments,
    )
    for role in _SERVING:
        may = role in allowed or role == function.owner
        yield Check(
            "functions", role, function.signature, "execute", "", "allowed" if may else "refused",
            (Probe(Identity(role), call),), _granted if may else _denied,
        )  # fmt: skip
