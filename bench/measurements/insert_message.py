"""Inserting a message under row level security, against none, with the same triggers.

A member of the staff answers in conversations that are theirs. The baseline is the same person,
statement and triggers on the same tables while row level security of ``messages`` is switched off.
"""

from __future__ import annotations

from typing import Any

import psycopg

from bench.database import Database
from bench.figures import Figure, Figures
from bench.million import ROLES, claims, million, scratch_copy, transaction, uuid_of
from bench.pgbench import ROUND_SECONDS, Compared, pgbench
from bench.sizes import ROWS, sized
from bench.support import busy, median

GOAL = 1.10
ROUNDS = sized(5, tiny=1)
CONVERSATIONS = sized(8, tiny=1)  # per person


def take_conversations(db: psycopg.Connection[Any], person: int) -> list[str]:
    """Let a person of company 1 take some conversations; return their ids."""
    db.execute("set local session_replication_role = replica")
    rows = db.execute(
        "update conversations set is_hitl_active = true, hitl_activated_at = now(),"
        " assigned_operator_id = %(user)s where (company_id, id) in (select company_id, id"
        "  from conversations where company_id = %(company)s and status = 'active'"
        "  and chatbot_id = %(bot)s and not is_hitl_active limit %(most)s) returning id",
        {
            "user": uuid_of(f"u1-{person}"),
            "company": uuid_of("co1"),
            "bot": uuid_of("b1-2"),
            "most": CONVERSATIONS,
        },
    ).fetchall()
    ids = [str(row[0]) for row in rows]
    if not ids:
        raise RuntimeError("company 1 has no conversation left that can be taken")
    db.execute(
        "insert into hitl_sessions (company_id, conversation_id, chatbot_id, status, reason,"
        " operator_id, taken_at) select company_id, id, chatbot_id, 'active', 'manual',"
        " assigned_operator_id, now() from conversations where id = any (%s)",
        (ids,),
    )
    return ids


def script(person: str, ids: list[str]) -> str:
    """Return the script of an answer in one of the conversations."""
    return transaction(
        "authenticated",
        person,
        "insert into public.messages (company_id, conversation_id, content) values"
        f" ('{uuid_of('co1')}', ('{{{','.join(ids)}}}'::uuid[])[1 + floor(random() * {len(ids)})],"
        " 'Con gusto le ayudo con su pedido')",
    )


def toggled(database: Database, text: str) -> Compared:
    """Measure rounds with the policies of messages on and off, by turns."""
    compared = Compared([], [])
    sides = [("enable", compared.ours), ("disable", compared.baseline)]
    with psycopg.connect(database.admin, autocommit=True) as db:
        for turn in range(-1, ROUNDS):  # the first round warms up
            for state, results in sides if turn % 2 == 0 else reversed(sides):
                db.execute(f"alter table public.messages {state} row level security".encode())
                took = pgbench(database.app, text, seconds=ROUND_SECONDS).milliseconds
                if turn >= 0:
                    results.append(took)
        db.execute("alter table public.messages enable row level security")
    return compared


def measure() -> Figures:
    before = busy()
    compared: dict[str, Compared] = {}
    with million() as database, scratch_copy(database) as copy:
        for role, person in ROLES.items():
            with psycopg.connect(copy.admin) as db:
                ids = take_conversations(db, person)
            compared[role] = toggled(copy, script(claims(1, person), ids))
    worst = max(compared, key=lambda role: compared[role].ratio)
    listed = ", ".join(f"{role} {one.ratio:.3f}" for role, one in compared.items())
    yield Figure(
        id="insert_message",
        title=f"insert a message among {ROWS:,} under row level security, worst role",
        measured=median(compared[worst].ours),
        unit="ms",
        baseline="the same without row level security, same triggers",
        baseline_measured=median(compared[worst].baseline),
        ratio=compared[worst].ratio,
        goal=GOAL,
        details=f"pgbench, prepared, same round trips, median of {ROUNDS} interleaved rounds of 1 s:"
        f" {listed}; {before}",
    )
