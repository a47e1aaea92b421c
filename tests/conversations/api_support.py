"""What the tests of the conversations' API share."""

from __future__ import annotations

import secrets
import uuid
from typing import Any
from uuid import UUID

import httpx
import psycopg

from tests.companies import Company

V1 = "/v1"


def unknown_like(client: httpx.Client, method: str, path: str, foreign: object, **body: Any) -> int:
    """The status of a foreign id, which must answer byte for byte as an unknown one."""
    one = {"headers": {"x-request-id": "one"}} | body
    told = client.request(method, path.format(foreign), **one)
    unknown = client.request(method, path.format(uuid.uuid4()), **one)
    assert told.content == unknown.content
    assert told.status_code == unknown.status_code
    return told.status_code


def other_bot(database: psycopg.Connection, company: Company) -> UUID:
    """A bot that the company's operador does not serve, with a web chat."""
    bot = database.execute(
        "insert into chatbots (company_id, name, system_prompt, created_by) values (%s, %s, 'x', %s)"
        " returning id",
        (company.id, f"Otro {secrets.token_hex(6)}", company.people["owner"].id),
    ).fetchone()[0]
    database.execute(
        "insert into channel_accounts (company_id, chatbot_id, channel, routing_id, display_name)"
        " values (%s, %s, 'web', %s, 'Web')",
        (company.id, bot, f"web-{secrets.token_hex(8)}"),
    )
    return bot


def converse(
    database: psycopg.Connection, company: Company, bot: UUID | None = None, *says: str
) -> UUID:
    """A conversation of a new end user; ``says`` are the bot's."""
    conversation = database.execute(
        "insert into conversations (company_id, chatbot_id, channel_account_id, end_user_id, channel)"
        " select company_id, chatbot_id, id, gen_random_uuid()::text, channel from channel_accounts"
        " where company_id = %s and chatbot_id = %s and channel = 'web' returning id",
        (company.id, bot or company.bot_id),
    ).fetchone()[0]
    for text in says:
        say(database, company, conversation, text)
    return conversation


def say(
    database: psycopg.Connection, company: Company, conversation: UUID, text: str, by: str = "bot"
) -> UUID:
    return database.execute(
        "insert into messages (company_id, conversation_id, sender_type, content)"
        " values (%s, %s, %s, %s) returning id",
        (company.id, conversation, by, text),
    ).fetchone()[0]


def every(client: httpx.Client, path: str, **params: object) -> list[dict[str, Any]]:
    """All of a list, page by page."""
    found, cursor = [], None
    while True:
        answer = client.get(path, params=params | ({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.text
        found += answer.json()["data"]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return found


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in rows]
