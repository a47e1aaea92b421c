#!/usr/bin/env python3
"""Hold a live database against the founding design, name by name.

usage: seed_conformance.py DSN [DEVIATIONS.toml]

Reads tests/data/design/seed-inventory.json (every table, column, enum, policy table of
the founding document) and the catalog of the database at DSN (needs psycopg).
Prints one line per difference that the deviations file does not explain, then
'N differences, M explained', and exits 1 if any is unexplained.

The deviations file is TOML, one table:
    [deviations]
    "users.invitation_token" = "kept only as a SHA-256 digest: users.invitation_token_hash"
A key is 'table', 'table.column', 'enum:name', 'function:name' or 'rls:table'; an explanation
for one that does not differ is itself a difference, and so is one under 20 characters.
Further keys explain what no name can show and are only counted: 'key:table' (primary,
unique and foreign keys), 'default:table.column', 'check:table', 'policy:table',
'index:table', 'trigger:table', 'behaviour:anything'.
"""
import json
import pathlib
import sys
import tomllib

import psycopg

HERE = pathlib.Path(__file__).resolve().parent
INVENTORY = json.loads((HERE.parent / "design" / "seed-inventory.json").read_text())

COUNTED = {"key", "default", "check", "policy", "index", "trigger", "behaviour"}

# the design's type -> catalog types that keep its promise
SAME = {
    "uuid": {"uuid"}, "text": {"text"}, "varchar": {"varchar", "text", "citext"},
    "integer": {"int4", "int8"}, "bigint": {"int8"}, "boolean": {"bool"},
    "timestamptz": {"timestamptz"}, "date": {"date"}, "jsonb": {"jsonb"},
    "decimal": {"numeric"}, "inet": {"inet"}, "text[]": {"_text"},
    "vector": {"vector", "halfvec"},
}


def promised(design_type: str) -> set[str]:
    base = design_type.split("(")[0]
    return SAME.get(design_type) or SAME.get(base) or {base}


def main() -> int:
    dsn = sys.argv[1]
    explained = {}
    if len(sys.argv) > 2:
        explained = tomllib.loads(pathlib.Path(sys.argv[2]).read_text()).get("deviations", {})
    found: dict[str, str] = {}
    with psycopg.connect(dsn) as db:
        cols: dict[str, dict[str, tuple[str, bool]]] = {}
        rls: dict[str, tuple[bool, bool, int]] = {}
        for t, c, ty, nn in db.execute(
            """select c.relname, a.attname, ty.typname, a.attnotnull
               from pg_attribute a join pg_class c on c.oid = a.attrelid
               join pg_namespace n on n.oid = c.relnamespace join pg_type ty on ty.oid = a.atttypid
               where c.relkind in ('r','p') and a.attnum > 0 and not a.attisdropped
               and not c.relispartition
               and n.nspname not in ('pg_catalog','information_schema','auth','storage')"""):
            cols.setdefault(t, {})[c] = (ty, nn)
        for t, on, forced, pol in db.execute(
            """select c.relname, c.relrowsecurity, c.relforcerowsecurity,
                      (select count(*) from pg_policy p where p.polrelid = c.oid)
               from pg_class c join pg_namespace n on n.oid = c.relnamespace
               where c.relkind in ('r','p') and not c.relispartition
               and n.nspname not in ('pg_catalog','information_schema','auth','storage')"""):
            rls[t] = (on, forced, pol)
        functions = {r[0] for r in db.execute(
            """select p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
               where n.nspname not in ('pg_catalog','information_schema')""")}
        enums: dict[str, list[str]] = {}
        for name, label in db.execute(
            """select t.typname, e.enumlabel from pg_enum e join pg_type t on t.oid = e.enumtypid
               order by t.typname, e.enumsortorder"""):
            enums.setdefault(name, []).append(label)

    tables = INVENTORY["tables"]
    for archive in ("conversations", "messages"):
        tables[f"{archive}_archived"] = {"columns": tables[archive]["columns"]}
    for table, spec in tables.items():
        if table not in cols:
            found[table] = "no such table"
            continue
        for column, want in spec["columns"].items():
            key = f"{table}.{column}"
            if column not in cols[table]:
                found[key] = "no such column"
                continue
            have_type, have_nn = cols[table][column]
            if have_type not in promised(want["type"]):
                found[key] = f"type {have_type}, the design says {want['type']}"
            elif want["not_null"] and not have_nn:
                found[key] = "may be null, the design says NOT NULL"
        if "company_id" in cols[table] or table == "companies":
            on, forced, policies = rls[table]
            if not (on and forced and policies):
                found[f"rls:{table}"] = f"row security enabled={on} forced={forced} policies={policies}"
    for name, want in INVENTORY["enums"].items():
        have = enums.get(name)
        if have is None:
            found[f"enum:{name}"] = "no such enum"
        elif missing := [v for v in want if v not in have]:
            found[f"enum:{name}"] = f"lacks {missing}"

    for name in INVENTORY["functions"]:
        if name not in functions:
            found[f"function:{name}"] = "no such function"

    bad = 0
    for key, what in found.items():
        if len(explained.get(key, "")) < 20:
            bad += 1
            print(f"{key}: {what}")
    for key, why in explained.items():
        if len(why) < 20:
            bad += 1
            print(f"{key}: explained in {len(why)} characters")
        elif key not in found and key.split(":")[0] not in COUNTED:
            bad += 1
            print(f"{key}: explained, but there is no difference ({why[:60]})")
    print(f"{bad} differences, {len(found)} differ, {len(explained)} explained")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
