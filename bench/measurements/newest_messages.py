"""Reading the newest 50 of a million messages under row level security, against none.

Both sides make the same round trips and announce the same claims; the other side bypasses RLS and
filters by company itself. The operador's other side filters by that person's bots too, as an
application without RLS must.
"""

from __future__ import annotations

from typing import Any

import psycopg

from bench.database import Database, value
from bench.figures import Figure, Figures
from bench.million import (
    ROLES,
    become,
    claims,
    draft_rows,
    million,
    transaction,
    uuid_of,
    without_rls,
)
from bench.pgbench import Compared, latencies
from bench.sizes import ROWS, sized
from bench.support import busy, median

ROUNDS = sized(5, tiny=1)
GOAL = 1.05
_COLUMNS = "select m.id, m.seq, m.content, m.sender_type, m.created_at from public.messages m"
_NEWEST = "order by m.created_at desc, m.id desc limit 50"


def reads(
    company: str, conversation: str, bots: str, assigned: str
) -> dict[str, tuple[str, str, str]]:
    """Return each read's queries: under RLS, and without RLS for full access and for operadores."""
    mine = f"m.company_id = '{company}'"
    scope = (
        f"(m.chatbot_id = any ('{{{bots}}}'::uuid[])"
        f" or m.conversation_id = any ('{{{assigned}}}'::uuid[]))"
    )
    one = f"m.conversation_id = '{conversation}'"
    by_turn = "order by m.seq desc limit 50"
    return {
        "of a conversation": (
            f"{_COLUMNS} where {one} {by_turn}",
            f"{_COLUMNS} where {mine} and {one} {by_turn}",
            f"{_COLUMNS} where {mine} and {scope} and {one} {by_turn}",
        ),
        "of the company": (
            f"{_COLUMNS} {_NEWEST}",
            f"{_COLUMNS} where {mine} {_NEWEST}",
            f"{_COLUMNS} where {mine} and {scope} {_NEWEST}",
        ),
    }


def asked_rows(database: Database) -> tuple[str, str, str]:
    """Return a conversation of company 1, its bot, and the conversations of that bot's operador."""
    with psycopg.connect(database.admin) as db:
        found = db.execute(
            "select c.id, o.chatbot_id, (select string_agg(x.id::text, ',') from conversations x"
            "  where x.company_id = c.company_id and x.assigned_operator_id = o.operator_id)"
            " from conversations c join chatbot_operators o"
            " on o.company_id = c.company_id and o.chatbot_id = c.chatbot_id"
            " where c.company_id = %s and o.operator_id = %s limit 1",
            (uuid_of("co1"), uuid_of("u1-4")),
        ).fetchone()
    assert found
    return str(found[0]), str(found[1]), str(found[2] or "")


def compare(database: Database) -> dict[str, Compared]:
    """Measure both sides of each read, by role and read."""
    plain = without_rls(database)
    every_read = reads(uuid_of("co1"), *asked_rows(database))
    compared: dict[str, Compared] = {}
    for role, person in ROLES.items():
        for read, (rls, everything, scoped) in every_read.items():
            who = claims(1, person)
            other = scoped if role == "operador" else everything
            check_same_rows(database, who, rls, other, plain)
            ours, theirs = transaction("authenticated", who, rls), transaction(plain, who, other)
            compared[f"{role}, {read}"] = latencies(database.app, ours, theirs, ROUNDS)
    return compared


def check_same_rows(database: Database, who: str, rls: str, other: str, plain: str) -> None:
    """Raise RuntimeError unless both sides read the same 50 rows."""
    found = []
    with psycopg.connect(database.app) as db:
        for role, query in (("authenticated", rls), (plain, other)):
            become(db, role, who)
            found.append(db.execute(query.encode()).fetchall())
            db.rollback()
    if found[0] != found[1] or len(found[0]) != 50:
        raise RuntimeError("the two sides read different rows")


def execution_ms(db: psycopg.Connection[Any], read: str, conversation: str, times: int) -> float:
    """Return the median execution time in the server, as the owner of company 1."""
    become(db, "authenticated", claims(1, 1))
    explained = f"explain (analyze, timing off, format json) {read}"
    return median(value(db, explained, conversation)[0]["Execution Time"] for _ in range(times))


def one_read(database: Database) -> float:
    """Return the milliseconds of our read of a conversation."""
    with psycopg.connect(database.app) as db:
        become(db, "authenticated", claims(1, 1))
        conversation = value(db, "select conversation_id from messages limit 1")
        read = f"{_COLUMNS} where m.conversation_id = %s order by m.seq desc limit 50"
        return execution_ms(db, read, conversation, 9)


def draft_read(database: Database) -> float:
    """Return the milliseconds of the same read on the design as drafted."""
    read = (
        "select id, content, sender_type, created_at from messages where conversation_id = %s"
        " order by created_at desc limit 50"
    )
    with psycopg.connect(draft_rows(database).admin) as db:
        first = "select conversation_id from messages where company_id = %s limit 1"
        conversation = value(db, first, uuid_of("co1"))
        return execution_ms(db, read, conversation, 3)


def measure() -> Figures:
    before = busy()
    with million() as database:
        compared = compare(database)
        ours, drafted = one_read(database), draft_read(database)
    worst = max(compared, key=lambda name: compared[name].ratio)
    listed = "; ".join(f"{name} {one.ratio:.3f}" for name, one in compared.items())
    yield Figure(
        id="newest_messages",
        title=f"newest 50 of {ROWS:,} messages under row level security, worst role and read",
        measured=median(compared[worst].ours),
        unit="ms",
        baseline="the same with an explicit company_id and without row level security",
        baseline_measured=median(compared[worst].baseline),
        ratio=compared[worst].ratio,
        goal=GOAL,
        details=f"pgbench, prepared, same round trips, median of {ROUNDS} interleaved rounds of 1 s:"
        f" {listed}; {before}",
    )
    yield Figure(
        id="newest_messages_draft",
        title=f"newest 50 of a conversation of {ROWS:,} messages, the design as drafted",
        measured=drafted,
        unit="ms",
        baseline="ours",
        baseline_measured=ours,
        ratio=drafted / ours,
        higher_is_better=True,
        details="as owner under row level security, execution time in the server",
    )
