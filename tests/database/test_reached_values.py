"""Some test reaches every value that a column may have, or docs/unreached-values.toml lists it.

The values are those of the enumerated types and of the checks that allow a column a list of words.
A test reaches a value where its module names the value and a column that has it; where the column's
name is a common word ("status"), the module names the table's subject, too.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

import psycopg

from neurant.installation.embedded import Urls

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
LISTED = tomllib.loads((ROOT / "docs" / "unreached-values.toml").read_text("utf-8"))["values"]
MAX_LISTED = 6  # lower it with the list; never raise it
# These files name values without reaching them.
NO_TESTS = {Path(__file__).name, "column_uses.py", "mutants.py", "body_mutants.py", "operators.py"}
COMMON = {"status", "kind", "action", "reason", "outcome", "role", "plan", "channel", "size"}
SUBJECT = {"audit_logs": "audit", "hitl_sessions": "hitl", "webhook_deliveries": "deliver"}
REASON = re.compile(r"(issue 1\d|record|removal): \S.{9,}")

ENUMS = """
select t.typname::text, array_agg(distinct e.enumlabel::text),
  array_agg(distinct c.relname::text || '.' || a.attname::text)
from pg_type t join pg_enum e on e.enumtypid = t.oid join pg_attribute a on a.atttypid = t.oid
join pg_class c on c.oid = a.attrelid and c.relkind in ('r', 'p')
where c.relnamespace = 'public'::regnamespace and not a.attisdropped
  and c.relname !~ '_archived$' group by 1
"""
CHECKS = """
select c.relname || '.' || a.attname, pg_get_constraintdef(k.oid)
from pg_constraint k join pg_class c on c.oid = k.conrelid
join pg_attribute a on a.attrelid = c.oid and k.conkey = array[a.attnum]
where k.contype = 'c' and c.relnamespace = 'public'::regnamespace
  and c.relname !~ '_archived$' and a.atttypid in ('text'::regtype, 'varchar'::regtype)
"""
IN_LIST = re.compile(r"CHECK \(\(\(?\w+\)?(?:::text)? = ANY \(\(?ARRAY\[([^\]]*)\][^()]*\)+")


def values_of_columns(db: psycopg.Connection) -> dict[str, tuple[set[str], set[str]]]:
    """The values and the columns of each enumerated type and of each check with a list of words."""
    found = {name: (set(values), set(columns)) for name, values, columns in db.execute(ENUMS)}
    for column, check in db.execute(CHECKS):
        if listed := IN_LIST.fullmatch(check):
            found[column] = (set(re.findall(r"'([^']*)'", listed[1])), {column})
    return found


@lru_cache(maxsize=1)
def modules() -> tuple[tuple[frozenset[str], frozenset[str]], ...]:
    """The string values and the words of each module of the tests."""
    return tuple(
        _said_in(path) for path in sorted(TESTS.rglob("*.py")) if path.name not in NO_TESTS
    )


def _said_in(path: Path) -> tuple[frozenset[str], frozenset[str]]:
    values: set[str] = set()
    words = set(re.findall(r"[a-z]+", str(path.relative_to(TESTS))))
    for part in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            values |= {part.value, *re.findall(r"'([^']*)'", part.value)}
            words |= set(re.findall(r"\w+", part.value))
        elif isinstance(part, ast.Name | ast.arg | ast.keyword | ast.Attribute):
            words |= set(re.findall(r"\w+", _name(part)))
    return frozenset(values), frozenset(words)


def _name(node: ast.Name | ast.arg | ast.keyword | ast.Attribute) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return (node.attr if isinstance(node, ast.Attribute) else node.arg) or ""


def unreached(known: Mapping[str, tuple[set[str], set[str]]]) -> Iterator[str]:
    for name, (values, columns) in known.items():
        for value in values:
            if not any(
                value in said and any(names_column(words, column) for column in columns)
                for said, words in modules()
            ):
                yield f"{name}.{value}"


def names_column(words: frozenset[str], column: str) -> bool:
    table, field = column.split(".")
    if field not in words:
        return False
    subject = SUBJECT.get(table, table.split("_")[-1].removesuffix("s").removesuffix("ie"))
    return field not in COMMON or any(subject in word for word in words)


def test_every_value_of_every_enumeration_is_reached_or_listed(urls: Urls) -> None:
    with psycopg.connect(urls.admin) as db:
        known = values_of_columns(db)
    assert len(known) > 30, "the catalog was not read"
    found = set(unreached(known))
    listed = set(LISTED)
    assert found == listed, f"not listed: {sorted(found - listed)}; vain: {sorted(listed - found)}"


def test_every_listed_value_names_the_issue_that_reaches_it_and_the_list_only_shrinks() -> None:
    assert len(LISTED) <= MAX_LISTED
    assert not {value: why for value, why in LISTED.items() if not REASON.match(why)}
