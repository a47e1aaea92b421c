"""Reading the newest 50 of a million messages under row level security, against none.

Run: ``python bench/newest_messages.py`` (about 2 minutes once loaded). Both sides make the same round
trips and announce the same claims; the other side bypasses RLS and filters by company itself. The
operador's other side filters by that person's bots too, as an application without RLS must.
"""

from __future__ import annotations

import statistics
import sys

import psycopg
from million import (
    ROLES,
    Loaded,
    claims,
    drafted,
    interleaved,
    million,
    transaction,
    uuid_of,
    without_rls,
)
from support import busy, report

GOAL = 1.05
_COLUMNS = "select m.id, m.seq, m.content, m.sender_type, m.created_at from public.messages m"
_NEWEST = "order by m.created_at desc, m.id desc limit 50"


def reads(
    company: str, conversation: str, bots: str, assigned: str
) -> dict[str, tuple[str, str, str]]:
    """For each read its query under RLS, and without RLS for those who see all and for operadores."""
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


def measured(loaded: Loaded, rounds: int) -> dict[str, list[float]]:
    """The ratios of each round, by role and read."""
    plain = without_rls(loaded)
    with psycopg.connect(loaded.admin) as db:
        found = db.execute(
            "select c.id, o.chatbot_id, (select string_agg(x.id::text, ',') from conversations x"
            "  where x.company_id = c.company_id and x.assigned_operator_id = o.operator_id)"
            " from conversations c join chatbot_operators o"
            " on o.company_id = c.company_id and o.chatbot_id = c.chatbot_id"
            " where c.company_id = %s and o.operator_id = %s limit 1",
            (uuid_of("co1"), uuid_of("u1-4")),
        ).fetchone()
    assert found
    ratios: dict[str, list[float]] = {}
    for role, person in ROLES.items():
        who = claims(1, person)
        for read, (rls, everything, scoped) in reads(
            uuid_of("co1"), str(found[0]), str(found[1]), str(found[2])
        ).items():
            other = scoped if role == "operador" else everything
            same_rows(loaded, who, rls, other, plain)
            ours, theirs = transaction("authenticated", who, rls), transaction(plain, who, other)
            a, b, rounds_told = interleaved(loaded, ours, theirs, rounds=rounds, seconds=1)
            ratios[f"{role}, {read}"] = rounds_told
            print(f"     {role}, {read}: {a:.3f} ms under RLS, {b:.3f} ms without", flush=True)
    return ratios


def same_rows(loaded: Loaded, who: str, rls: str, other: str, plain: str) -> None:
    """Both sides must read the same 50 rows, or the comparison means nothing."""
    told = []
    with psycopg.connect(loaded.app) as db:
        for role, query in (("authenticated", rls), (plain, other)):
            become = (
                "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)"
            )
            db.execute(become, (role, who))
            told.append(db.execute(query.encode()).fetchall())
            db.rollback()
    if told[0] != told[1] or len(told[0]) != 50:
        raise RuntimeError("the two sides read different rows")


def draft_seconds(loaded: Loaded) -> float:
    """The same read of a conversation on the design as drafted, as its owner; seconds."""
    with drafted(loaded) as draft, psycopg.connect(draft.admin) as db:
        row = db.execute(
            "select conversation_id from messages where company_id = %s limit 1", (uuid_of("co1"),)
        ).fetchone()
        assert row
        become = "select set_config('role', 'authenticated', true), set_config('request.jwt.claims', %s, true)"
        db.execute(become, (claims(1, 1),))
        read = "explain (analyze, timing off, format json) select id, content, sender_type, created_at from messages where conversation_id = %s order by created_at desc limit 50"
        told = [db.execute(read, (row[0],)).fetchone() for _ in range(3)]
    return statistics.median(one[0][0]["Execution Time"] for one in told if one) / 1000


def main() -> int:
    before = busy()
    with million() as loaded:
        ratios = measured(loaded, rounds=5)
        medians = {name: statistics.median(rounds) for name, rounds in ratios.items()}
        worst = max(medians, key=lambda name: medians[name])
        listed = "; ".join(f"{name} {ratio:.3f}" for name, ratio in medians.items())
        ok = report(
            "newest_messages",
            f"newest 50 of {loaded.rows:,} messages, RLS : explicit company_id, the worst role and read",
            medians[worst],
            GOAL,
            f"pgbench, prepared, same round trips, median of 5 interleaved rounds of 1 s: {listed}; {before}",
        )
        ours_ms = one_read(loaded)
        seconds = draft_seconds(loaded)
    report(
        "newest_messages_draft",
        f"newest 50 of a conversation of {loaded.rows:,} messages, the design as drafted : ours, times",
        seconds * 1000 / ours_ms,
        None,
        f"as owner under RLS, execution time in the server: drafted {seconds:.2f} s, ours {ours_ms:.3f} ms",
    )
    return 0 if ok else 1


def one_read(loaded: Loaded) -> float:
    """Our side of the comparison with the draft: execution time in the server, milliseconds."""
    with psycopg.connect(loaded.app) as db:
        become = "select set_config('role', 'authenticated', true), set_config('request.jwt.claims', %s, true)"
        db.execute(become, (claims(1, 1),))
        row = db.execute("select conversation_id from messages limit 1").fetchone()
        assert row
        read = f"explain (analyze, timing off, format json) {_COLUMNS} where m.conversation_id = %s order by m.seq desc limit 50"
        told = [db.execute(read.encode(), (row[0],)).fetchone() for _ in range(9)]
    return statistics.median(one[0][0]["Execution Time"] for one in told if one)


if __name__ == "__main__":
    sys.exit(main())
