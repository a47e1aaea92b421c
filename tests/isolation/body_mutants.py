"""Mutants of what the schema computes: function bodies, policies and the WHEN of triggers."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from neurant.verify.catalog import Catalog
from tests.isolation.operators import (
    Scope,
    expression_mutants,
    printed_expression,
    printed_statement,
    statement_mutants,
)
from tests.isolation.plpgsql import branch_mutants, embedded_mutants, parsed

# pgTAP-like names in the schema of the job library are its own: not ours to change.
_FUNCTIONS = """
select p.oid::regprocedure::text, l.lanname, p.prosrc, pg_get_functiondef(p.oid),
  n.nspname || '.' || p.proname as name,
  n.nspname || '.' || p.proname || '(' || array_to_string(array(
    select format_type(t, null) from unnest(p.proargtypes::oid[]) with ordinality u (t, o)
    order by u.o), ', ') || ')' as signature,
  coalesce(p.proargnames, '{}') as names,
  array(select format_type(t, null) from unnest(coalesce(p.proallargtypes, p.proargtypes::oid[]))
    with ordinality u (t, o) order by u.o) as types
from pg_proc p join pg_namespace n on n.oid = p.pronamespace
join pg_language l on l.oid = p.prolang
where n.nspname in ('public', 'private') and l.lanname in ('sql', 'plpgsql')
  and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
order by signature
"""
_TYPE_NAMES = {
    "int4": "integer",
    "int8": "bigint",
    "bool": "boolean",
    "timestamptz": "timestamp with time zone",
}
_DECLARED_ROW = re.compile(r"\b(\w+) (public\.\w+);")


@dataclass(frozen=True)
class BodyMutant:
    """``id`` is the same in every run; ``where`` is a function, policy or trigger."""

    id: str
    where: str
    operator: str
    before: str
    after: str
    statement: str

    @property
    def difference(self) -> str:
        """What was there and what is there instead, without what both begin and end with."""
        return difference(self.before, self.after)


def difference(before: str, after: str, *, around: int = 24) -> str:
    """``… [-was-]{+is+} …`` of two texts that differ in one place."""
    begin = 0
    while begin < min(len(before), len(after)) and before[begin] == after[begin]:
        begin += 1
    end = 0
    while end < min(len(before), len(after)) - begin and before[-1 - end] == after[-1 - end]:
        end += 1
    left = before[max(0, begin - around) : begin]
    right = before[len(before) - end :][:around]
    return f"{left}[-{before[begin : len(before) - end]}-]{{+{after[begin : len(after) - end]}+}}{right}"


Found = tuple[str, str, str, str]  # operator, before, after, statement


def body_mutants(
    db: psycopg.Connection[Any], catalog: Catalog, only: frozenset[str] | None = None
) -> list[BodyMutant]:
    """All of them (or those of these functions, policies and triggers), in a stable order.

    Some cannot be created (a type that does not fit): ``creatable`` tells.
    """
    scope = _scope(catalog)
    makers = (_function_mutants(db, catalog, scope, only), _policy_mutants(db, scope))
    made: list[BodyMutant] = []
    seen: set[tuple[str, str]] = set()
    numbers: Counter[str] = Counter()
    for source in (*makers, _trigger_mutants(catalog, scope)):
        for where, (operator, before, after, statement) in source:
            if only is not None and where not in only and where.partition("(")[0] not in only:
                continue
            if (where, statement) in seen:
                continue  # two operators say the same
            seen.add((where, statement))
            print_ = hashlib.sha256(f"{before}\0{after}".encode()).hexdigest()[:8]
            name = f"{where} / {operator} / {print_}"
            numbers[name] += 1
            number = f" / {numbers[name]}" if numbers[name] > 1 else ""
            made.append(BodyMutant(name + number, where, operator, before, after, statement))
    return made


def creatable(db: psycopg.Connection[Any], mutant: BodyMutant) -> bool:
    """Whether PostgreSQL accepts it; nothing of it stays. The caller is in a transaction."""
    try:
        with db.transaction(force_rollback=True):
            db.execute(mutant.statement.encode())
    except psycopg.Error:
        return False
    return True


def _scope(catalog: Catalog) -> Scope:
    columns = {
        table.name: {column.name: column.type for column in table.columns.values()}
        for table in catalog.tables.values()
    }
    return Scope(columns=columns)


def trigger_tables(catalog: Catalog) -> dict[str, set[str]]:
    """By the name of a trigger function, the tables that call it."""
    users: dict[str, set[str]] = defaultdict(set)
    for table in catalog.tables.values():
        for trigger in table.triggers:
            users[re.findall(r"FUNCTION (\S+)\(", trigger.definition)[0]].add(table.name)
    return users


def _function_mutants(
    db: psycopg.Connection[Any], catalog: Catalog, scope: Scope, only: frozenset[str] | None
) -> Iterator[tuple[str, Found]]:
    users = trigger_tables(catalog)
    for row in db.execute(_FUNCTIONS).fetchall():
        _, language, body, definition, name, signature, names, types = row
        if only is not None and name not in only and signature not in only:
            continue
        variables = {n: t for n, t in zip(names, types, strict=False) if n}
        tables = dict(_DECLARED_ROW.findall(body))
        tables |= {n: t for n, t in variables.items() if t in scope.columns}
        if len(users[name]) == 1:
            tables |= dict.fromkeys(("new", "old"), next(iter(users[name])))
        head, _, rest = definition.partition(body)
        mutants = _sql_body if language == "sql" else _plpgsql_body
        for operator, text, before, after in mutants(definition, body, scope, tables, variables):
            yield signature, (operator, before, after, f"{head}{text}{rest}")


def _sql_body(
    definition: str,
    body: str,
    scope: Scope,
    tables: Mapping[str, str],
    variables: Mapping[str, str],
) -> Iterator[tuple[str, str, str, str]]:
    before = printed_statement(body)
    known = Scope(dict(tables), scope.columns, dict(variables))
    for operator, text in statement_mutants(body, known):
        yield operator, text, before, text


def _plpgsql_body(
    definition: str,
    body: str,
    scope: Scope,
    tables: Mapping[str, str],
    variables: Mapping[str, str],
) -> Iterator[tuple[str, str, str, str]]:
    found = parsed(definition, body)
    declared = {
        name: _TYPE_NAMES.get(t, t) for name, t in found.variables.items() if name != "found"
    }
    known = Scope(dict(tables), scope.columns, {**declared, **variables})
    yield from embedded_mutants(body, found, known)
    yield from branch_mutants(body)


def _policy_mutants(db: psycopg.Connection[Any], scope: Scope) -> Iterator[tuple[str, Found]]:
    rows = db.execute(
        "select schemaname || '.' || tablename, policyname, qual, with_check from pg_policies"
        " where schemaname = 'public' order by 1, 2"
    ).fetchall()
    for table, name, using, check in rows:
        known = Scope({table.partition(".")[2]: table}, scope.columns)
        for clause, text in (("using", using), ("with check", check)):
            if text is None or text == "true":
                continue
            before = printed_expression(text)
            for operator, after in expression_mutants(text, known, is_condition=True):
                alter = f"alter policy {name} on {table} {clause} ({after})"
                yield f"policy {name} on {table} {clause}", (operator, before, after, alter)


def _trigger_mutants(catalog: Catalog, scope: Scope) -> Iterator[tuple[str, Found]]:
    for table in catalog.tables.values():
        if not table.name.startswith("public."):
            continue
        known = Scope(dict.fromkeys(("new", "old"), table.name), scope.columns)
        for trigger in table.triggers:
            head, when, rest = trigger.definition.partition(" WHEN (")
            condition, execute, call = rest.rpartition(") EXECUTE FUNCTION ")
            if not when or not execute:
                continue
            before = printed_expression(condition)
            for operator, after in expression_mutants(condition, known, is_condition=True):
                statement = (
                    f"drop trigger {trigger.name} on {table.name};"
                    f" {head}{when}{after}{execute}{call}"
                )
                where = f"trigger {trigger.name} on {table.name}"
                yield where, (operator, before, after, statement)
