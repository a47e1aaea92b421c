"""Ways to break the schema, generated from the catalog: each is one statement, or a few.

A mutant is what a tired person could commit: a policy dropped, a check gone, a right too many.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from neurant.verify.catalog import Catalog, read_catalog
from tests.isolation.body_mutants import body_mutants, creatable

SERVED = ("authenticated", "visitor", "neurant_worker", "anon", "neurant_app")


@dataclass(frozen=True)
class Mutant:
    """``kind`` and ``what`` name it; ``near`` are the tables and functions that it touches.

    ``difference`` is told of a mutant of a body, and ``function`` is then the name of what it changes.
    """

    kind: str
    what: str
    statements: tuple[str, ...]
    near: frozenset[str]
    id: str = ""
    difference: str = ""
    function: str = ""

    @property
    def name(self) -> str:
        """The same in every run."""
        return self.id or f"{self.what} / {self.kind}"


def mutants(db: psycopg.Connection[Any]) -> list[Mutant]:
    """All of the catalog's, in an order that never changes; ``bodies`` has the rest."""
    catalog = read_catalog(db)
    makers = (policies, tables, references, uniques, triggers, functions, objects)
    found = [mutant for make in makers for mutant in make(db, catalog)]
    return [*found, *grants(catalog)]


def bodies(db: psycopg.Connection[Any], only: frozenset[str] | None = None) -> list[Mutant]:
    """Those of function bodies, policies and WHEN (of these functions) that can be created."""
    return [
        Mutant(
            kind=one.operator,
            what=one.where,
            statements=(one.statement,),
            near=_touched(one.where),
            id=one.id,
            difference=one.difference,
            function="" if " on " in one.where else one.where.partition("(")[0],
        )
        for one in body_mutants(db, read_catalog(db), only)
        if creatable(db, one)
    ]


def _touched(where: str) -> frozenset[str]:
    """The function, or the table of a policy or trigger."""
    _, _, table = where.partition(" on ")
    return frozenset({table.split()[0] if table else where})


def sample(found: list[Mutant], count: int, seed: int = 1) -> list[Mutant]:
    """At least one of each kind, the rest by chance; the same ones each time."""
    chance = random.Random(seed)
    kinds: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in found:
        kinds[mutant.kind].append(mutant)
    chosen = [chance.choice(of_kind) for of_kind in kinds.values()]
    rest = [mutant for mutant in found if mutant not in chosen]
    return chosen + chance.sample(rest, max(0, min(len(rest), count - len(chosen))))


def policies(db: psycopg.Connection[Any], catalog: Catalog) -> Iterator[Mutant]:
    rows = db.execute(
        "select schemaname || '.' || tablename, policyname, qual, with_check from pg_policies"
        " where schemaname = 'public' order by 1, 2"
    ).fetchall()
    for table, name, using, check in rows:
        near = frozenset({table})
        yield Mutant(
            "policy dropped", f"{name} on {table}", (f"drop policy {name} on {table}",), near
        )
        for word, clause, text in (("USING", "using", using), ("WITH CHECK", "with check", check)):
            if text is None or text == "true":
                continue
            alter = f"alter policy {name} on {table} {clause}"
            yield Mutant(f"{word} true", f"{name} on {table}", (f"{alter} (true)",), near)
            for number, place in enumerate(re.finditer(r"\bAND\b", text), 1):
                bent = f"{text[: place.start()]}OR{text[place.end() :]}"
                what = f"{word} of {name} on {table}, AND number {number}"
                yield Mutant("AND to OR", what, (f"{alter} ({bent})",), near)


def tables(db: psycopg.Connection[Any], catalog: Catalog) -> Iterator[Mutant]:
    for table in catalog.tables.values():
        if table.name.startswith("public.") and table.kind in "rp":
            near = frozenset({table.name})
            for kind, change in (("FORCE off", "no force"), ("row security off", "disable")):
                statement = f"alter table {table.name} {change} row level security"
                yield Mutant(kind, table.name, (statement,), near)


def references(db: psycopg.Connection[Any], catalog: Catalog) -> Iterator[Mutant]:
    for key in catalog.references():
        table = catalog.tables[key.table]
        target = catalog.tables[key.target]
        if not target.company or not table.company or "company_id" not in key.columns[:1]:
            continue
        near = frozenset({table.name})
        drop = f"alter table {table.name} drop constraint {key.name}"
        yield Mutant("foreign key dropped", f"{table.name}.{key.name}", (drop,), near)
        if len(key.columns) < 2:
            continue
        there = ", ".join(key.target_columns[1:])
        again = (
            f"create unique index on {target.name} ({there})",
            f"{drop}, add constraint {key.name} foreign key ({', '.join(key.columns[1:])})"
            f" references {target.name} ({there})",
        )
        yield Mutant("company_id out of a foreign key", f"{table.name}.{key.name}", again, near)


def uniques(db: psycopg.Connection[Any], catalog: Catalog) -> Iterator[Mutant]:
    referenced = {(key.target, frozenset(key.target_columns)) for key in catalog.references()}
    constraints = {row[0] for row in db.execute("select conname from pg_constraint").fetchall()}
    for table in catalog.tables.values():
        for unique in table.uniques:
            if unique.primary or not table.name.startswith("public."):
                continue
            if (table.name, frozenset(unique.columns)) in referenced:
                continue  # a foreign key stands on it
            drop = (
                f"alter table {table.name} drop constraint {unique.name}"
                if unique.name in constraints
                else f"drop index public.{unique.name}"
            )
            yield Mutant("unique dropped", unique.name, (drop,), frozenset({table.name}))


def triggers(db: psycopg.Connection[Any], catalog: Catalog) -> Iterator[Mutant]:
    for table in catalog.tables.values():
        for trigger in table.triggers:
            if table.name.startswith("public."):
                off = f"alter table {table.name} disable trigger {trigger.name}"
                what = f"{trigger.name} on {table.name}"
                yield Mutant("trigger disabled", what, (off,), frozenset({table.name}))


def functions(db: psycopg.Connection[Any], catalog: Catalog) -> Iterator[Mutant]:
    users = defaultdict(set)
    for table in catalog.tables.values():
        for trigger in table.triggers:
            users[re.findall(r"FUNCTION (\S+)\(", trigger.definition)[0]].add(table.name)
    for function in catalog.functions.values():
        if not function.name.startswith("private."):
            continue
        name = function.signature
        near = frozenset({name, *users[function.name]})
        alter = f"alter function {name}"
        everybody = f"grant execute on function {name} to public"
        yield Mutant("EXECUTE to public", name, (everybody,), near)
        if function.definer:
            # (An invoker acts with the caller's rights: a path of the caller's gains nobody anything.)
            yield Mutant("search_path removed", name, (f"{alter} reset search_path",), near)
            yield Mutant("definer to invoker", name, (f"{alter} security invoker",), near)
            owner = f"{alter} owner to neurant_owner"
            yield Mutant("owner changed", name, (owner,), near)


def objects(db: psycopg.Connection[Any], catalog: Catalog) -> Iterator[Mutant]:
    """Rights and objects that no table has: only the committed list can notice most of them."""
    for role in SERVED:
        for right in (
            "create on schema public",
            "create on schema private",
            "usage on language sql",
        ):
            yield Mutant(
                "stray right", f"{right} to {role}", (f"grant {right} to {role}",), frozenset()
            )
        yield Mutant("stray membership", role, (f"grant pg_read_all_data to {role}",), frozenset())
        setting = f"alter role {role} set row_security = off"
        yield Mutant("stray role setting", role, (setting,), frozenset())
    for kind, statement in (
        ("publication", "create publication stray for all tables"),
        ("publication", "create publication stray for table public.messages"),
        ("large object", "select lo_create(0)"),
        ("language", "create language stray handler plpgsql_call_handler"),
        ("extension", "create extension hstore"),
        ("foreign data wrapper", "create foreign data wrapper stray"),
        ("rule", "create rule stray as on delete to public.notes do instead nothing"),
        ("cast", "create cast (text as uuid) with inout as implicit"),
    ):
        yield Mutant("stray object", kind, (statement,), frozenset())


def grants(catalog: Catalog) -> list[Mutant]:
    """A right too many: the whole table, or one column."""
    whole, single = [], []
    for table in catalog.tables.values():
        if table.kind not in "rp":
            continue
        near = frozenset({table.name})
        for role in SERVED:
            for operation in ("select", "insert", "update", "delete"):
                missing = [c for c in table.columns if c not in table.granted(role, operation)]
                if not missing:
                    continue
                what = f"{operation} on {table.name} to {role}"
                statement = f"grant {operation} on {table.name} to {role}"
                whole.append(Mutant("grant on a table", what, (statement,), near))
                if operation != "delete":
                    column = sql.Identifier(missing[len(missing) // 2]).as_string(None)
                    what = f"{operation} ({column}) on {table.name} to {role}"
                    statement = f"grant {operation} ({column}) on {table.name} to {role}"
                    single.append(Mutant("grant on a column", what, (statement,), near))
    chance = random.Random(1)  # there are hundreds, much alike
    return chance.sample(whole, min(60, len(whole))) + chance.sample(single, min(60, len(single)))
