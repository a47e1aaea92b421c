"""The SQL of a reply: reading the conversation, and settling the reply request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from psycopg.types.json import Jsonb

from neurant.conversations.explanation import Explanation
from neurant.core.db.pool import Connection, Pool, fetch_all, fetch_one, fetch_value

_CLAIM = """
select company_id, conversation_id, wanted_seq, claim_token, attempts
from private.claim_replies(%s, %s, %s, %s)
"""
_CONVERSATION = """
select c.id, c.chatbot_id, c.fence, c.is_hitl_active, c.last_seq, b.name as bot_name,
  b.is_active and b.retired_at is null as bot_is_active,
  (select private.message_limit_reached()) as limit_reached,
  b.hitl_enabled and k.max_hitl_concurrent <> 0 as hitl_enabled, b.hitl_triggers,
  b.hitl_trigger_keywords as keywords, b.fallback_message,
  b.personality_traits ->> 'language' as language, b.personality_traits ->> 'persona' as persona,
  b.personality_traits ->> 'tone' as tone, b.personality_traits ->> 'address' as address,
  b.personality_traits ->> 'style' as style, b.timezone, c.context_data,
  coalesce(b.max_context_messages, 10) as max_context_messages, k.name as company_name
from public.conversations c
join public.chatbots b on b.company_id = c.company_id and b.id = c.chatbot_id
join public.companies k on k.id = c.company_id
where c.id = %s
"""
# All messages since the last answer, and before them as many as the bot looks back on.
_RECENT = """
with recent as (
  select m.seq, m.sender_type, m.message_type, m.content,
    bool_or(m.sender_type in ('bot', 'human')) over (order by m.seq desc) as is_before,
    row_number() over (order by m.seq desc) as position
  from (
    select m.seq, m.sender_type, m.message_type, m.content
    from public.messages m
    where m.conversation_id = %(conversation)s
    order by m.seq desc
    limit 100) m
),
opened as (
  select count(*) as messages from recent where not is_before
)
select r.seq, r.sender_type, r.message_type, r.content
from recent r
cross join opened o
where r.position <= o.messages + (
  select b.max_context_messages
  from public.conversations c
  join public.chatbots b on b.company_id = c.company_id and b.id = c.chatbot_id
  where c.id = %(conversation)s)
order by r.seq desc
"""
_FINISH = """
select outcome, message_id
from private.finish_reply(%s, %s, %s, %s, %s, p_content => %s, p_sources => %s,
  p_confidence => %s::numeric, p_model => %s, p_processing_ms => %s, p_reason => %s, p_detail => %s,
  p_tokens => %s, p_explanation => %s, p_context => %s)
"""
_LOG_QUERY = """
insert into public.knowledge_queries (company_id, conversation_id, message_id, query_text,
  results_count, top_similarity_score, confidence, processing_time_ms)
values (%s, %s, %s, %s, %s, %s, %s, %s)
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """A reply that this worker has leased."""

    company_id: UUID
    conversation_id: UUID
    wanted_seq: int
    claim_token: UUID
    attempts: int


@dataclass(frozen=True, slots=True)
class ConversationRow:
    """A conversation with its bot's and company's settings."""

    id: UUID
    chatbot_id: UUID
    fence: int
    is_hitl_active: bool
    last_seq: int
    bot_name: str
    bot_is_active: bool
    limit_reached: bool
    hitl_enabled: bool
    hitl_triggers: list[str]
    keywords: list[str] | None
    fallback_message: str | None
    language: str | None
    persona: str | None
    tone: str | None
    address: str | None
    style: str | None
    timezone: str | None
    context_data: dict[str, Any] | None
    max_context_messages: int
    company_name: str


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message as the reply reads it."""

    seq: int
    sender_type: str
    message_type: str
    content: str


@dataclass(frozen=True, slots=True)
class ReplyOutcome:
    """The outcome of a reply: done, limited, fenced, superseded or lost."""

    outcome: Literal["done", "limited", "fenced", "superseded", "lost"]
    message_id: UUID | None


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply that is ready to be written.

    ``model``: what wrote the text; ``tokens``: what language models used for it, also for a text
    that was dropped. ``context`` holds the facts that the turn established, by name; None removes a
    fact. ``by`` names what decided the reply, for a preview.
    """

    action: str
    content: str | None = None
    sources: Sequence[dict[str, Any]] = ()
    confidence: float | None = None
    model: str | None = None
    processing_ms: int | None = None
    reason: str | None = None
    detail: str | None = None
    tokens: int | None = None
    explanation: Explanation | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    by: str = "documents"


@dataclass(frozen=True, slots=True)
class KnowledgeQuery:
    """A search that a reply made, for the statistics."""

    text: str
    results: int
    top_similarity: float | None
    confidence: float | None
    processing_ms: int


async def claim_replies(
    pool: Pool,
    limit: int,
    lease: timedelta,
    share: int | None = None,
    running: Sequence[UUID] = (),
) -> list[Claim]:
    """Lease up to ``limit`` due replies, of any company.

    ``share``: the maximum of concurrent replies of one company in this worker; ``running``: the
    company of each reply that the worker is making.
    """
    parameters = (limit, lease, share, list(running))
    async with pool.connection() as connection:
        return await fetch_all(connection, Claim, _CLAIM, parameters)


async def next_due(pool: Pool) -> datetime | None:
    """Return when the next reply is due, by the database's clock; None: none waits."""
    async with pool.connection() as connection:
        due = await fetch_value(connection, "select private.next_reply_due()")
    return due if isinstance(due, datetime) else None


async def read_conversation(
    connection: Connection, conversation_id: UUID
) -> tuple[ConversationRow, list[MessageRow]] | None:
    """Return the conversation and its newest messages, newest first; None for an unknown id.

    They are the messages since the last answer, and before them ``max_context_messages``.
    """
    row = await fetch_one(connection, ConversationRow, _CONVERSATION, (conversation_id,))
    if row is None:
        return None
    return row, await fetch_all(connection, MessageRow, _RECENT, {"conversation": conversation_id})


async def finish_reply(
    connection: Connection, claim: Claim, fence: int, read_seq: int, reply: Reply
) -> ReplyOutcome:
    """Write the reply if lease and fence still hold, and settle the request."""
    parameters = (
        claim.conversation_id,
        claim.claim_token,
        fence,
        read_seq,
        reply.action,
        reply.content,
        Jsonb(list(reply.sources)),
        reply.confidence,
        reply.model,
        reply.processing_ms,
        reply.reason,
        reply.detail,
        reply.tokens,
        Jsonb(reply.explanation.model_dump(mode="json")) if reply.explanation else None,
        Jsonb(dict(reply.context)),
    )
    finished = await fetch_one(connection, ReplyOutcome, _FINISH, parameters)
    if finished is None:
        raise RuntimeError("finish_reply answers with one row")
    return finished


async def log_query(
    connection: Connection, claim: Claim, message_id: UUID | None, query: KnowledgeQuery
) -> None:
    """Store a search for the statistics, in the reply's own transaction."""
    await connection.execute(
        _LOG_QUERY,
        (
            claim.company_id,
            claim.conversation_id,
            message_id,
            query.text,
            query.results,
            query.top_similarity,
            query.confidence,
            query.processing_ms,
        ),
    )


async def fail_reply(connection: Connection, claim: Claim, error: str, retry_in: timedelta) -> None:
    """Return the reply to the queue, to be retried after ``retry_in``."""
    await connection.execute(
        "select private.fail_reply(%s, %s, %s, %s)",
        (claim.conversation_id, claim.claim_token, error, retry_in),
    )
