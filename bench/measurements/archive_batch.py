"""Archiving conversations of 50 messages with all their rows: the seconds of one batch.

A batch holds its locks for that time. It is limited to 500 conversations and to 5,000 messages,
whichever comes first. The baseline is writing as many conversations as a batch moves.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg

from bench.companies import Company, add_company
from bench.database import migrated, value
from bench.figures import Figure, Figures
from bench.sizes import sized
from bench.support import busy, median

GOAL = 1.0  # seconds
CONVERSATIONS, MESSAGES, FILLS = sized(500, tiny=4), sized(50, tiny=10), sized(2, tiny=1)
FILL = """
with talk as (
  insert into conversations (company_id, chatbot_id, channel_account_id, end_user_id, channel, status,
    started_at, last_message_at, ended_at, last_seq, message_count)
  select a.company_id, a.chatbot_id, a.id, 'user-' || n || clock_timestamp(), a.channel, 'resolved',
    now() - interval '2 years', now() - interval '2 years', now() - interval '2 years', %(messages)s, %(messages)s
  from channel_accounts a, generate_series(1, %(conversations)s) n where a.routing_id = %(routing)s
  returning *
), said as (
  insert into messages (company_id, conversation_id, chatbot_id, channel_account_id, seq, sender_type,
    content, external_message_id, status, created_at)
  select t.company_id, t.id, t.chatbot_id, t.channel_account_id, n,
    case n %% 2 when 0 then 'bot' else 'end_user' end::sender_type_enum,
    repeat('¿Cuánto cuesta el domicilio? ', 4) || n, t.id || ':' || n,
    case n %% 2 when 0 then 'sent' else 'delivered' end::message_status_enum, t.started_at
  from talk t, generate_series(1, %(messages)s) n
  returning *
), sent as (
  insert into outbox (company_id, conversation_id, message_id, channel_account_id, seq, status)
  select company_id, conversation_id, id, channel_account_id, seq, 'sent' from said where sender_type = 'bot'
), asked as (
  insert into knowledge_queries (company_id, conversation_id, message_id, query_text)
  select company_id, conversation_id, id, content from said where sender_type = 'end_user' and seq %% 10 = 1
)
insert into notes (company_id, conversation_id, chatbot_id, author_id, content)
select company_id, id, chatbot_id, %(author)s, 'Cliente de siempre' from talk
"""


def fill(db: psycopg.Connection[Any], company: Company) -> float:
    """Write finished conversations of two years ago; return the seconds of one conversation."""
    values = {
        "conversations": CONVERSATIONS,
        "messages": MESSAGES,
        "routing": company.web,
        "author": company.owner,
    }
    began = time.monotonic()
    db.execute(FILL, values)
    return (time.monotonic() - began) / CONVERSATIONS


def archive(db: psycopg.Connection[Any]) -> tuple[list[float], list[int]]:
    """Archive everything; return the seconds and the conversations of each batch."""
    seconds: list[float] = []
    moved: list[int] = []
    while sum(moved) < CONVERSATIONS * FILLS:
        began = time.monotonic()
        moved.append(value(db, "select conversations from private.archive_old_data()"))
        seconds.append(time.monotonic() - began)
        if not moved[-1]:
            raise RuntimeError("a batch moved nothing although finished conversations are left")
    return seconds, moved


def measure() -> Figures:
    before = busy()
    with migrated({}) as database, psycopg.connect(database.admin, autocommit=True) as db:
        company = add_company(db, "acme")
        of_one = median(fill(db, company) for _ in range(FILLS))
        db.execute("analyze")
        seconds, moved = archive(db)
    taken, baseline = median(seconds), of_one * median(moved)
    each = ", ".join(f"{one:.2f}" for one in seconds)
    yield Figure(
        id="archive_batch",
        title="one batch of archiving",
        measured=taken,
        unit="s",
        baseline="writing as many conversations",
        baseline_measured=baseline,
        ratio=taken / baseline,
        goal=GOAL,
        goal_on="measured",
        details=f"{sum(moved)} conversations of {MESSAGES} messages in {len(moved)} batches, median:"
        f" {each} s; {before}",
    )
