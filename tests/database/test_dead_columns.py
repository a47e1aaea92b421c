"""No dead column: something acts on every column, or docs/dead-columns.toml says why nothing does.

A form that stores a value makes no column alive, nor does the audit of its changes, its erasure, or
its copy in the archive. ``column_uses`` reads what each statement of the product does with it.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.database.column_uses import Reader, Uses, uses_of

ROOT = Path(__file__).resolve().parents[2]
INVENTORY = ROOT / "tests" / "data" / "design" / "seed-inventory.json"
LISTED = tomllib.loads((ROOT / "docs" / "dead-columns.toml").read_text("utf-8"))
# Lower them with the lists; never raise them.
MAX_LISTED = {"dead": 36, "waiting": 37}

# Every row has these, and defaults fill them.
KEYS = {"id", "company_id", "created_at", "updated_at"}
REASON = re.compile(r"(issue 1\d|record|removal): \S.{9,}")


def is_judged(column: str) -> bool:
    table, name = column.split(".")
    return name not in KEYS and not table.endswith("_archived")


@pytest.fixture(scope="module")
def found(urls: Urls) -> tuple[Uses, set[str]]:
    with psycopg.connect(urls.admin) as db:
        uses, columns = uses_of(db)
    return uses, {column for column in columns if is_judged(column)}


def promised_columns() -> set[str]:
    tables = json.loads(INVENTORY.read_text("utf-8"))["tables"]
    return {f"{table}.{column}" for table, spec in tables.items() for column in spec["columns"]}


def difference(found: set[str], listed: set[str]) -> str:
    return f"not listed: {sorted(found - listed)}; listed in vain: {sorted(listed - found)}"


def test_every_statement_of_the_product_was_understood(found: tuple[Uses, set[str]]) -> None:
    assert found[0].unread == []


def test_every_column_that_no_statement_reads_is_listed(found: tuple[Uses, set[str]]) -> None:
    uses, columns = found
    dead = columns - uses.acting() - uses.reads
    assert dead == set(LISTED["dead"]), difference(dead, set(LISTED["dead"]))


def test_every_promised_column_that_is_only_read_is_shown_or_waits_or_acts_in_python(
    found: tuple[Uses, set[str]],
) -> None:
    uses, columns = found
    only_read = (columns & promised_columns() & uses.reads) - uses.acting()
    listed = [column for name in ("waiting", "code", "shown") for column in LISTED[name]]
    assert len(listed) == len(set(listed)), "listed twice"
    assert only_read == set(listed), difference(only_read, set(listed))


def test_every_listed_column_has_its_issue_or_its_reason_and_the_lists_only_shrink() -> None:
    for name, most in MAX_LISTED.items():
        assert len(LISTED[name]) <= most
        wrong = {column: why for column, why in LISTED[name].items() if not REASON.match(why)}
        assert not wrong
    assert all(why.startswith("issue") for why in LISTED["waiting"].values())
    assert all(LISTED["shown"].values())


def test_the_code_that_acts_on_a_listed_column_names_it(urls: Urls) -> None:
    with psycopg.connect(urls.admin) as db:
        for column, place in LISTED["code"].items():
            where, name = place.split(": ")
            if where.startswith("private."):
                body = db.execute("select prosrc from pg_proc where proname = %s", (where[8:],))
                assert re.search(rf"\b{name}\b", str(body.fetchone())), column
                continue
            tree = ast.parse((ROOT / where).read_text("utf-8"))
            named = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
            assert name in named, column


def uses_in(*statements: str) -> Uses:
    tables = {"bots": ["id", "name", "tone", "size"], "notes": ["id", "bot_id", "said", "size"]}
    reader = Reader(tables, doing={"tell"})
    for statement in statements:
        reader.statements(statement)
    assert not reader.uses.unread
    return reader.uses


@pytest.mark.parametrize(
    "statement",
    [
        "select 1 from bots where tone = $1",
        "select b.id from bots b join notes n on n.said = b.tone",
        "select id from bots order by tone",
        "select count(*) filter (where tone is null) from bots",
        "select case when b.tone is null then 1 end from bots b",
        "select id from (select id, tone as how from bots) b where b.how = $1",
        "with b as (select * from bots) select b.id from b where b.tone = $1",
        "update notes n set said = $1 from bots b where b.id = n.bot_id and b.tone = $2",
        "delete from bots where tone = $1",
        "insert into bots (tone) values ($1) on conflict (tone) do nothing",
        "select private.tell(tone) from bots",
        "insert into notes (said) select tone from bots; select 1 from notes where said = $1",
    ],
)
def test_a_condition_an_order_a_join_and_what_flows_into_one_act(statement: str) -> None:
    assert "bots.tone" in uses_in(statement).acting()


@pytest.mark.parametrize(
    "statement",
    [
        "select tone from bots",
        "select lower(b.tone) as tone from bots b where b.id = $1",
        "select * from bots",
        "update bots set id = $1 returning tone",
        "update bots set tone = $1 where tone is distinct from $1 returning tone",
        "insert into notes (said) select tone from bots",
    ],
)
def test_a_value_that_is_only_selected_is_read_and_does_not_act(statement: str) -> None:
    uses = uses_in(statement)
    assert "bots.tone" in uses.reads
    assert "bots.tone" not in uses.acting()


@pytest.mark.parametrize(
    "statement",
    [
        "insert into bots (tone) values ($1)",
        "update bots set tone = $1 where id = $2",
        "select n.id from bots b join notes n on n.bot_id = b.id where n.said = 'tone'",
        "with b as (select * from bots) select b.id from b",
    ],
)
def test_a_value_that_is_only_written_is_neither_read_nor_acts(statement: str) -> None:
    uses = uses_in(statement)
    assert "bots.tone" not in uses.reads | uses.acting()
