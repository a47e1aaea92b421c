"""Archiving conversations of 50 messages, with what hangs on them: how long one batch holds its locks.

A batch is bounded by 500 conversations and by 5,000 messages, whichever comes first.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import psycopg
from support import busy, empty_folder, report

from neurant.installation.embedded import start_supervised
from neurant.installation.migrate import migrate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.companies import make_company

CONVERSATIONS, MESSAGES, FILLS = 500, 50, 2
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


def main() -> None:
    before = busy()
    with empty_folder() as folder:
        server = start_supervised(folder, {})
        try:
            seconds = measure(server.urls.admin)
        finally:
            server.stop()
    each = ", ".join(f"{one:.2f}" for one in seconds)
    total = CONVERSATIONS * FILLS
    how = f"{total} conversations x {MESSAGES} messages in {len(seconds)} batches: {each}; {before}"
    report(
        "archive_batch", "one batch of archiving, median, s", statistics.median(seconds), 1.0, how
    )


def measure(admin: str) -> list[float]:
    migrate(admin)
    seconds = []
    company = make_company(admin, "acme")
    with psycopg.connect(admin, autocommit=True) as db:
        for _ in range(FILLS):
            db.execute(
                FILL,
                {"conversations": CONVERSATIONS, "messages": MESSAGES, "routing": company.telegram,
                 "author": company.people["owner"].id},
            )  # fmt: skip
        db.execute("analyze")
        moved = 0
        while moved < CONVERSATIONS * FILLS:
            started = time.monotonic()
            found = db.execute("select conversations from private.archive_old_data()").fetchone()
            seconds.append(time.monotonic() - started)
            moved += found[0]
    return seconds


if __name__ == "__main__":
    main()
