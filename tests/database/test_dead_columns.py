"""No dead column: what the founding design promises is written or read by some statement of the product.

A column counts as alive when one statement (of the Python code, of a function, of a policy or
trigger) names both its table and the column. That a change of it is audited, that erasure
blanks it, or that `neurant verify` fills it, makes no column alive. ``docs/dead-columns.toml`` lists those that are not
yet, each with the feature that will use it. The list may only shrink.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import psycopg

from neurant.installation.embedded import Urls

ROOT = Path(__file__).resolve().parents[2]
INVENTORY = ROOT / "tests" / "data" / "design" / "seed-inventory.json"
LISTED = ROOT / "docs" / "dead-columns.toml"
MOST = 6  # lower it with the list; never raise it

# Every row has these, and defaults fill them.
KEYS = {"id", "company_id", "created_at", "updated_at"}
SQL = re.compile(r"\b(select|insert|update|delete)\b", re.IGNORECASE)
IN_CATALOG = """
select p.prosrc from pg_proc p
where p.pronamespace = 'private'::regnamespace and p.proname !~ '^(erase_|overwrite_)'
union all
select coalesce(c.relname, '') || ' ' || coalesce(pg_get_expr(l.polqual, l.polrelid), '') || ' '
  || coalesce(pg_get_expr(l.polwithcheck, l.polrelid), '')
from pg_policy l join pg_class c on c.oid = l.polrelid
union all
select pg_get_triggerdef(t.oid) from pg_trigger t
where not t.tgisinternal and t.tgfoid <> 'private.audit_change'::regproc
"""


def product_statements(admin_url: str) -> Iterator[str]:
    for path in (ROOT / "neurant").rglob("*.py"):
        if "verify" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            value = node.value if isinstance(node, ast.Constant) else None
            if isinstance(value, str) and SQL.search(value):
                yield value
    with psycopg.connect(admin_url) as db:
        for (body,) in db.execute(IN_CATALOG):
            yield from body.split(";")


def dead_columns(statements: list[str], promised: dict[str, list[str]]) -> set[str]:
    words = [set(re.findall(r"[a-z0-9_]+", statement.lower())) for statement in statements]
    return {
        f"{table}.{column}"
        for table, columns in promised.items()
        for column in columns
        if column not in KEYS and not any(table in said and column in said for said in words)
    }


def test_every_promised_column_is_used_or_listed_with_the_feature_that_will(urls: Urls) -> None:
    tables = json.loads(INVENTORY.read_text())["tables"]
    with psycopg.connect(urls.admin) as db:
        present = {
            (row[0], row[1])
            for row in db.execute(
                "select c.relname::text, a.attname::text from pg_attribute a join pg_class c on c.oid = a.attrelid"
                " where c.relnamespace = 'public'::regnamespace and a.attnum > 0 and not a.attisdropped"
            )
        }
    promised = {
        table: [column for column in spec["columns"] if (table, column) in present]
        for table, spec in tables.items()
    }
    dead = dead_columns(list(product_statements(urls.admin)), promised)
    listed = tomllib.loads(LISTED.read_text("utf-8"))["columns"]
    assert dead == set(listed), f"new: {dead - set(listed)}; alive: {set(listed) - dead}"
    assert len(listed) <= MOST
    assert all(len(feature) > 10 for feature in listed.values())


def test_a_column_that_no_statement_names_with_its_table_is_dead() -> None:
    promised = {"users": ["id", "email", "phone"]}
    said = ["select u.email from public.users u", "select c.phone from public.companies c"]
    assert dead_columns(said, promised) == {"users.phone"}
