"""Conversations of long ago, with everything that can hang on one, and what is stored of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from tests.companies import Company

LIVE = (
    "conversations",
    "messages",
    "hitl_sessions",
    "hitl_transfers",
    "message_reactions",
    "knowledge_queries",
    "notes",
    "outbox",
)


@dataclass
class ConversationShape:
    """What a conversation was like."""

    speakers: Sequence[str] = ("end_user", "bot", "end_user", "human")
    channel: str = "telegram"
    status: str = "resolved"
    days_ago: int = 400
    end_user: str = field(default_factory=lambda: str(uuid4()))
    name: str | None = "Ana"
    takeover: bool = True
    notes: int = 1
    reactions: bool = True
    queries: int = 1


def make_conversation(db: psycopg.Connection, company: Company, shape: ConversationShape) -> UUID:
    """A finished conversation of ``shape``, written through the product's own triggers."""

    def one(query: str, *params: object) -> UUID:
        return db.execute(query, params).fetchone()[0]

    operador, supervisor = company.people["operador"].id, company.people["supervisor"].id
    routing = company.web if shape.channel == "web" else company.telegram
    conversation = one(
        "insert into conversations (company_id, chatbot_id, channel_account_id, end_user_id,"
        " end_user_name, channel, started_at, last_message_at, context_data) select company_id, chatbot_id, id,"
        " %s, %s, channel, began, began, '{\"pedido\": 7}' from channel_accounts,"
        " lateral (select now() - make_interval(days => %s) as began)"
        " where routing_id = %s returning id",
        shape.end_user, shape.name, shape.days_ago, routing,
    )  # fmt: skip
    if shape.takeover:
        session = one(
            "insert into hitl_sessions (company_id, conversation_id, chatbot_id, status, reason,"
            " reason_detail, operator_id, taken_at) values (%s, %s, %s, 'active', 'manual', 'queja',"
            " %s, now()) returning id",
            company.id, conversation, company.bot_id, operador,
        )  # fmt: skip
        db.execute(
            "insert into hitl_transfers (company_id, session_id, conversation_id, chatbot_id,"
            " from_user_id, to_user_id, reason, status, decided_at)"
            " values (%s, %s, %s, %s, %s, %s, 'Sabe más', 'rejected', now())",
            (company.id, session, conversation, company.bot_id, operador, supervisor),
        )
    for number, speaker in enumerate(shape.speakers):
        message = one(
            "insert into messages (company_id, conversation_id, chatbot_id, channel_account_id,"
            " sender_type, sender_id, content, external_message_id, processing_time_ms, created_at,"
            " knowledge_sources, explanation) select company_id, id, chatbot_id, channel_account_id, %s, %s, %s, %s,"
            " %s, started_at + %s * interval '1 minute', '[{\"quote\": \"a\"}]', %s from conversations where id = %s returning id",
            speaker, operador if speaker == "human" else None, f"{speaker} {number} ñ\n'x'",
            f"{shape.end_user}:{uuid4()}" if speaker == "end_user" else None,
            number * 10 if speaker == "bot" else None, number,
            '{"question": "hola, soy Ana"}' if speaker == "bot" else None, conversation,
        )  # fmt: skip
        if speaker == "bot" and shape.reactions:
            for user in (None, supervisor):
                db.execute(
                    "insert into message_reactions (company_id, message_id, conversation_id, chatbot_id,"
                    " reaction_type, comment, reacted_by_user_id, reacted_by_end_user)"
                    " values (%s, %s, %s, %s, 'helpful', 'gracias, soy Ana', %s, %s)",
                    (company.id, message, conversation, company.bot_id, user, user is None),
                )
        if speaker == "end_user":
            for _ in range(shape.queries):
                db.execute(
                    "insert into knowledge_queries (company_id, conversation_id, message_id, query_text,"
                    " query_embedding, top_similarity_score) values (%s, %s, %s, 'precio ñ', '[0.25,-1,3]', 0.5)",
                    (company.id, conversation, message),
                )
    for number in range(shape.notes):
        db.execute(
            "insert into notes (company_id, conversation_id, chatbot_id, author_id, content)"
            " values (%s, %s, %s, %s, %s)",
            (company.id, conversation, company.bot_id, operador, f"Ana vive en la calle {number}"),
        )
    db.execute(
        "update hitl_sessions set status = 'resolved', ended_at = now(), ended_by = operator_id,"
        " resolution_notes = 'llamar a Ana' where conversation_id = %s", (conversation,),
    )  # fmt: skip
    db.execute(
        "update outbox set status = 'sent', sent_at = now() where conversation_id = %s",
        (conversation,),
    )
    db.execute(
        "update messages set status = 'sent' where conversation_id = %s and status = 'pending'",
        (conversation,),
    )
    if shape.status != "active":
        db.execute(
            "update conversations set status = %s, ended_at = started_at + interval '1 day',"
            " last_message_at = started_at + interval '1 hour' where id = %s",
            (shape.status, conversation),
        )
    return conversation


def stored_rows(
    db: psycopg.Connection, conversations: Sequence[UUID], suffix: str = ""
) -> dict[str, list[str]]:
    """Every row of these conversations, byte for byte, by table."""
    found = {}
    for table in LIVE:
        key = "id" if table == "conversations" else "conversation_id"
        query = sql.SQL(
            "select to_jsonb(t)::text from {} t where {} = any (%s) order by t.id"
        ).format(sql.Identifier(table + suffix), sql.Identifier(key))
        found[table] = [row[0] for row in db.execute(query, (list(conversations),)).fetchall()]
    return found


def archive_all(
    jobs_url: str, days: int = 365, limit: int = 500, most: int = 100
) -> list[tuple[Any, ...]]:
    """Run archiving until nothing is left; each batch in a transaction of its own."""
    batches: list[tuple[Any, ...]] = []
    with psycopg.connect(jobs_url, autocommit=True) as db:
        while len(batches) < most:
            rows = db.execute(
                "select * from private.archive_old_data(make_interval(days => %s), %s)",
                (days, limit),
            ).fetchall()
            if not rows:
                return batches
            batches += rows
    return batches


def become(db: psycopg.Connection, company: Company, role: str) -> None:
    claims = {"sub": str(company.people[role].auth_user_id), "company_id": str(company.id)}
    db.execute("select set_config('role', 'authenticated', true)")
    db.execute("select set_config('request.jwt.claims', %s, true)", (json.dumps(claims),))


def restore(app_url: str, company: Company, conversation: UUID, role: str = "owner") -> str:
    with psycopg.connect(app_url) as db:
        become(db, company, role)
        return db.execute("select private.restore_conversation(%s)", (conversation,)).fetchone()[0]
