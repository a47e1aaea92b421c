"""Inserting a message under row level security, against none, with the same triggers.

Run: ``python bench/insert_message.py`` (about 1 minute once loaded). A member of the staff answers in
conversations that are theirs. The other side is the same person, statement and triggers on the same
tables while row level security of ``messages`` is switched off.
"""

from __future__ import annotations

import statistics
import sys

import psycopg
from million import (
    ROLES,
    Loaded,
    claims,
    million,
    pgbench,
    scratch_copy,
    transaction,
    uuid_of,
)
from support import busy, report

GOAL = 1.10


def prepare(loaded: Loaded, person: int) -> list[str]:
    """Conversations of company 1 that are taken by that person already; their ids."""
    with psycopg.connect(loaded.admin) as db:
        db.execute("set session_replication_role = replica")
        rows = db.execute(
            "update conversations set is_hitl_active = true, hitl_activated_at = now(),"
            " assigned_operator_id = %(user)s where (company_id, id) in (select company_id, id"
            "  from conversations where company_id = %(company)s and status = 'active'"
            "  and chatbot_id = %(bot)s and not is_hitl_active limit 8) returning id",
            {"user": uuid_of(f"u1-{person}"), "company": uuid_of("co1"), "bot": uuid_of("b1-2")},
        ).fetchall()
        ids = [str(row[0]) for row in rows]
        db.execute(
            "insert into hitl_sessions (company_id, conversation_id, chatbot_id, status, reason,"
            " operator_id, taken_at) select company_id, id, chatbot_id, 'active', 'manual',"
            " assigned_operator_id, now() from conversations where id = any (%s)",
            (ids,),
        )
    return ids


def script(who: str, ids: list[str]) -> str:
    """An answer in one of the conversations."""
    return transaction(
        "authenticated",
        who,
        "insert into public.messages (company_id, conversation_id, content) values"
        f" ('{uuid_of('co1')}', ('{{{','.join(ids)}}}'::uuid[])[1 + floor(random() * {len(ids)})],"
        " 'Con gusto le ayudo con su pedido')",
    )


def toggled(loaded: Loaded, text: str, rounds: int) -> tuple[float, float, list[float]]:
    """Rounds with the policies of messages on and off, by turns: medians, and each round's ratio."""
    pairs: list[tuple[float, float]] = []
    with psycopg.connect(loaded.admin, autocommit=True) as db:
        for turn in range(-1, rounds):  # the first round warms up
            told = {}
            for state in ("enable", "disable") if turn % 2 == 0 else ("disable", "enable"):
                db.execute(f"alter table public.messages {state} row level security".encode())
                told[state] = pgbench(loaded, text, seconds=1)
            if turn >= 0:
                pairs.append((told["enable"], told["disable"]))
        db.execute("alter table public.messages enable row level security")
    return (
        statistics.median(pair[0] for pair in pairs),
        statistics.median(pair[1] for pair in pairs),
        [a / b for a, b in pairs],
    )


def measured(loaded: Loaded, rounds: int) -> dict[str, list[float]]:
    """The ratios of each round, by role."""
    ratios: dict[str, list[float]] = {}
    for role, person in ROLES.items():
        text = script(claims(1, person), prepare(loaded, person))
        a, b, ratios[role] = toggled(loaded, text, rounds)
        print(f"     {role}: {a:.3f} ms under RLS, {b:.3f} ms without", flush=True)
    return ratios


def main() -> int:
    before = busy()
    with million() as loaded, scratch_copy(loaded) as copy:
        medians = {role: statistics.median(told) for role, told in measured(copy, 5).items()}
    worst = max(medians, key=lambda role: medians[role])
    listed = ", ".join(f"{role} {ratio:.3f}" for role, ratio in medians.items())
    ok = report(
        "insert_message",
        f"insert a message among {loaded.rows:,}, RLS : none with the same triggers, the worst role",
        medians[worst],
        GOAL,
        f"pgbench, prepared, same round trips, median of 5 interleaved rounds of 1 s: {listed}; {before}",
    )
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
