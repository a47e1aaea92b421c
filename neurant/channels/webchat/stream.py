"""The visitor's live stream: the messages after the last one seen, and the answering party.

A stream subscribes first and reads then: a message that is written in between wakes the stream
instead of being missed. The id of an event is ``<conversation>.<seq>``, so a browser resumes by
``Last-Event-ID`` without a gap or a repetition, even if a new conversation has followed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from sse_starlette import ServerSentEvent

from neurant.channels.ingest import visitor_key
from neurant.conversations.system_lines import system_text
from neurant.core.db.pool import Connection, Pool, fetch_all, fetch_one, fetch_value
from neurant.core.db.tenancy import Visitor, tenant
from neurant.core.errors import UnauthenticatedError
from neurant.core.realtime import Hub
from neurant.core.turns import Turns
from neurant.texts import Language

_SLOW_TIMER = 20.0  # seconds after which a stream reads again without a notification
_PAGE = 200

_STATE = """
select c.id as conversation_id, c.status, c.is_hitl_active,
  c.assigned_operator_id is not null as taken,
  private.operator_name(c.assigned_operator_id) as operator,
  exists (select from public.reply_requests r where r.company_id = c.company_id
    and r.conversation_id = c.id) as thinking
from public.conversations c
where c.id = (select private.visitor_conversation_id())
"""
_MESSAGES = """
select m.id, m.conversation_id, m.seq, m.sender_type, private.operator_name(m.sender_id) as name,
  m.content, m.external_message_id, m.knowledge_sources, m.created_at
from public.messages m
where m.conversation_id = %s and m.seq > %s
order by m.seq
limit %s
"""


@dataclass(frozen=True, slots=True)
class ConversationState:
    """The state of the visitor's conversation, with the party that answers it now."""

    conversation_id: UUID
    status: str
    is_hitl_active: bool
    taken: bool
    operator: str | None
    thinking: bool

    def as_event(self) -> dict[str, Any]:
        """Return the data of a ``state`` event."""
        if self.status != "active":
            mode = "closed"
        elif not self.is_hitl_active:
            mode = "bot"
        else:
            mode = "human" if self.taken else "queued"
        thinking = self.thinking and mode == "bot"
        return {"mode": mode, "operator": self.operator, "thinking": thinking}


@dataclass(frozen=True, slots=True)
class VisibleMessage:
    """A message as the visitor may see it."""

    id: UUID
    conversation_id: UUID
    seq: int
    sender_type: str
    name: str | None
    content: str
    external_message_id: str | None
    knowledge_sources: list[dict[str, Any]]
    created_at: datetime


@dataclass(slots=True)
class Position:
    """The last message that a visitor has received."""

    conversation_id: UUID | None = None
    seq: int = 0

    @classmethod
    def from_header(cls, last_event_id: str | None) -> Position:
        """Parse a ``Last-Event-ID``; an invalid one means the beginning."""
        conversation, _, seq = (last_event_id or "").partition(".")
        try:
            return cls(UUID(conversation), int(seq))
        except ValueError:
            return cls()


def message_event(message: VisibleMessage, language: Language) -> ServerSentEvent:
    """Return a ``message`` event. A system line's key becomes a text in the reader's language."""
    content = message.content
    if message.sender_type == "system":
        content = system_text(content, language, message.name or "")
    client_id = (message.external_message_id or "").partition(":")[2] or None
    data = {
        "id": message.id,
        "conversation_id": message.conversation_id,
        "seq": message.seq,
        "sender": message.sender_type,
        "name": message.name,
        "text": content,
        "client_id": client_id if message.sender_type == "end_user" else None,
        "sources": [
            {"document": s.get("document"), "page": s.get("page"), "quote": s.get("quote")}
            for s in message.knowledge_sources or []
        ],
        "created_at": message.created_at,
    }
    return ServerSentEvent(
        orjson.dumps(data).decode(), event="message", id=f"{message.conversation_id}.{message.seq}"
    )


async def visitor_company(pool: Pool, visitor: Visitor, routing_id: str) -> UUID:
    """Return the company of a visitor with a valid session of this chat.

    Raises UnauthenticatedError for any other session.
    """
    async with tenant(pool, visitor) as connection:
        company = await fetch_value(connection, "select private.visitor_company(%s)", (routing_id,))
    if not isinstance(company, UUID):
        raise UnauthenticatedError("visitor_session_expired")
    return company


async def _read(
    pool: Pool, visitor: Visitor, position: Position
) -> tuple[ConversationState | None, list[VisibleMessage]]:
    async with tenant(pool, visitor) as connection:
        if await fetch_value(connection, "select private.company_id()") is None:
            raise UnauthenticatedError("visitor_session_expired")
        state = await fetch_one(connection, ConversationState, _STATE)
        if state is None:
            return None, []
        return state, await _read_messages(connection, state, position)


class StreamSource:
    """The database access of a process's streams.

    It uses half of the pool at most, in which the companies take turns.
    """

    def __init__(self, pool: Pool, hub: Hub) -> None:
        self.hub = hub
        self._pool = pool
        self._turns = Turns(max(1, pool.max_size // 2))

    async def read(
        self, company_id: UUID, visitor: Visitor, position: Position
    ) -> tuple[ConversationState | None, list[VisibleMessage]]:
        """Return the conversation's state and its new messages. Raises UnauthenticatedError."""
        async with self._turns.of(company_id):
            return await _read(self._pool, visitor, position)


async def _read_messages(
    connection: Connection, state: ConversationState, position: Position
) -> list[VisibleMessage]:
    if position.conversation_id != state.conversation_id:
        position.conversation_id, position.seq = state.conversation_id, 0
    parameters = (position.conversation_id, position.seq, _PAGE)
    return await fetch_all(connection, VisibleMessage, _MESSAGES, parameters)


async def visitor_stream(
    source: StreamSource, visitor: Visitor, company_id: UUID, position: Position, language: Language
) -> AsyncIterator[ServerSentEvent]:
    """Yield the events for one visitor until the session ends or the browser leaves."""
    told: dict[str, Any] | None = None
    mine = visitor_key(visitor.token_digest)
    with source.hub.subscribe(company_id, frozenset((mine,))) as subscription:
        while True:
            # Shielded: a browser that leaves during the read must not cost a pooled connection.
            try:
                state, messages = await asyncio.shield(
                    asyncio.ensure_future(source.read(company_id, visitor, position))
                )
            except UnauthenticatedError:
                return  # the browser asks again and receives 401
            for message in messages:
                yield message_event(message, language)
                position.seq = message.seq
            known = frozenset(one for one in (mine, position.conversation_id) if one)
            if len(messages) == _PAGE or known != subscription.only:
                # A conversation that is new to the stream may have changed before the stream
                # listened for it.
                subscription.only = known
                continue
            if state is not None and (data := state.as_event()) != told:
                told = data
                yield ServerSentEvent(orjson.dumps(data).decode(), event="state")
            await subscription.wait(_SLOW_TIMER)
