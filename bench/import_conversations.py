"""Past conversations over the API: messages a second, stored and seen by the caller.

Run: ``python bench/import_conversations.py`` (about a minute). A platform of its own; requests of
1,000 conversations of 10 messages, one after another, each committed when it is answered. The first
is not counted: after it the tables are analyzed, as autovacuum does within its minute. (Without
statistics PostgreSQL checks the foreign key of each message by a walk through the company's
conversations, and the first import of a new platform takes twice as long.)
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psycopg
from support import busy, demo, empty_folder, report

from neurant.installation.embedded import connection_urls

GOAL = 2_000.0
REQUESTS = 5
CONVERSATIONS, MESSAGES = 1_000, 10
BEGUN = datetime(2026, 1, 5, tzinfo=UTC)


def past(name: str) -> dict[str, Any]:
    """A conversation in which the end user and the bot take turns."""
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
    """The demo company's owner."""
    password = json.loads((folder / "demo.json").read_text("utf-8"))["password"]
    client = httpx.Client(base_url=url, timeout=60)
    login = {"email": "lucia@loscedros.example", "password": password}
    token = client.post("/v1/session", json=login).raise_for_status().json()["token"]
    client.headers["authorization"] = f"Bearer {token}"
    return client


def main() -> None:
    before = busy()
    with empty_folder() as folder, demo(folder) as running:
        client = signed_in(running.url, folder)
        bot = client.get("/v1/chatbots").json()
        bots = bot["data"] if isinstance(bot, dict) else bot
        path = f"/v1/chatbots/{bots[0]['id']}/conversation-imports"
        seconds = []
        for number in range(REQUESTS + 1):
            body = {"conversations": [past(f"{number}-{one}") for one in range(CONVERSATIONS)]}
            began = time.perf_counter()
            answer = client.post(path, json=body)
            seconds.append(time.perf_counter() - began)
            added = answer.json()["messages_added"]
            if added != CONVERSATIONS * MESSAGES:
                raise AssertionError(f"stored {added}: {answer.text[:500]}")
            if number == 0:
                seconds.clear()
                with psycopg.connect(connection_urls(folder).admin, autocommit=True) as db:
                    db.execute("analyze")
    report(
        "import_conversations",
        "messages of past conversations imported over the API, a second",
        CONVERSATIONS * MESSAGES / median(seconds),
        GOAL,
        f"median of {REQUESTS} requests of {CONVERSATIONS * MESSAGES:,} messages, "
        f"{min(seconds):.2f} to {max(seconds):.2f} s each, answered after the commit; {before}",
        at_least=True,
    )


if __name__ == "__main__":
    main()
