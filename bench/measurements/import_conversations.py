"""Past conversations over the API: messages a second, stored and visible to the caller.

Requests of 1,000 conversations of 10 messages, one after another, each committed when it is answered.
The first is not counted: after it the tables are analyzed, as autovacuum does within its minute.
(Without statistics PostgreSQL checks the foreign key of each message by a walk through the company's
conversations, and the first import of a new platform takes twice as long.) The baseline is one INSERT
of as many messages into a table with the same keys and indexes, without trigger and foreign key.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psycopg

from bench.figures import Figure, Figures
from bench.platform import platform
from bench.product import connection_urls
from bench.sizes import sized
from bench.support import busy, median

GOAL = 2_000.0
REQUESTS = sized(5, tiny=1)
CONVERSATIONS, MESSAGES = sized(1_000, tiny=5), 10
BEGUN = datetime(2026, 1, 5, tzinfo=UTC)
_TWIN = """
create table bench_messages (like public.messages including defaults including constraints
  including generated including indexes)
"""
_INSERT = """
insert into bench_messages
  (company_id, conversation_id, chatbot_id, channel_account_id, seq, sender_type, content, status)
select m.company_id, m.conversation_id, m.chatbot_id, m.channel_account_id, m.seq, m.sender_type,
  m.content, m.status
from public.messages m join public.conversations c on c.company_id = m.company_id
  and c.id = m.conversation_id where c.end_user_id like %s
"""


def past(name: str) -> dict[str, Any]:
    """Return a conversation in which the end user and the bot take turns."""
    return {
        "external_id": name,
        "channel": "web",
        "end_user_id": f"user-{name}",
        "messages": [
            {
                "external_id": str(place),
                "sender": "bot" if place % 2 else "end_user",
                "content": f"Buenos días, quería saber si abren los sábados por la tarde ({place})",
                "sent_at": (BEGUN + timedelta(minutes=place)).isoformat(),
            }
            for place in range(MESSAGES)
        ],
    }


def signed_in(url: str, folder: Path) -> httpx.Client:
    """Return a client with the session of the demo company's owner."""
    password = json.loads((folder / "demo.json").read_text("utf-8"))["password"]
    client = httpx.Client(base_url=url, timeout=60)
    login = {"email": "lucia@loscedros.example", "password": password}
    token = client.post("/v1/session", json=login).raise_for_status().json()["token"]
    client.headers["authorization"] = f"Bearer {token}"
    return client


def import_path(client: httpx.Client) -> str:
    """Return the path of imports into the demo company's first bot."""
    answer = client.get("/v1/chatbots").json()
    bots = answer["data"] if isinstance(answer, dict) else answer
    return f"/v1/chatbots/{bots[0]['id']}/conversation-imports"


def import_once(client: httpx.Client, path: str, name: str) -> float:
    """Return the seconds of one request. Raises AssertionError unless all messages were stored."""
    body = {"conversations": [past(f"{name}-{number}") for number in range(CONVERSATIONS)]}
    began = time.perf_counter()
    answer = client.post(path, json=body)
    seconds = time.perf_counter() - began
    added = answer.json()["messages_added"]
    if added != CONVERSATIONS * MESSAGES:
        raise AssertionError(f"stored {added}: {answer.text[:500]}")
    return seconds


def insert_again(db: psycopg.Connection[Any], name: str) -> float:
    """Return the seconds of an INSERT of the same messages into a table with the same keys."""
    db.execute(_TWIN)
    began = time.perf_counter()
    inserted = db.execute(_INSERT, (f"user-{name}-%",)).rowcount
    seconds = time.perf_counter() - began
    db.execute("drop table bench_messages")
    if inserted != CONVERSATIONS * MESSAGES:
        raise AssertionError(f"inserted {inserted} rows")
    return seconds


def measure() -> Figures:
    before = busy()
    seconds, plain = [], []
    with platform() as started:
        folder = started.running.folder
        client = signed_in(started.url, folder)
        path = import_path(client)
        with psycopg.connect(connection_urls(folder).admin, autocommit=True) as db:
            import_once(client, path, "first")
            db.execute("analyze")
            for number in range(REQUESTS):
                seconds.append(import_once(client, path, str(number)))
                plain.append(insert_again(db, str(number)))
    messages = CONVERSATIONS * MESSAGES
    ours, baseline = messages / median(seconds), messages / median(plain)
    yield Figure(
        id="import_conversations",
        title="messages of past conversations imported over the API",
        measured=ours,
        unit="messages/s",
        baseline="one INSERT into a table with the same keys, no trigger",
        baseline_measured=baseline,
        ratio=ours / baseline,
        goal=GOAL,
        goal_on="measured",
        higher_is_better=True,
        details=f"median of {REQUESTS} requests of {messages:,} messages, {min(seconds):.2f} to"
        f" {max(seconds):.2f} s each, answered after the commit; {before}",
    )
