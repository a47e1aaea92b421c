"""The statements of a takeover. The database decides which of two concurrent callers wins."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from neurant.core.db.pool import Connection, fetch_one, fetch_value

_TAKE = "select private.take_conversation(%s, %s)"
_RESOLVE = "select private.resolve_conversation(%s, %s)"
_RESEND = "select private.resend_message(%s)"
_REPLY = """
insert into public.messages (company_id, id, conversation_id, content) values (%s, %s, %s, %s)
"""
_SAME_REPLY = """
select true from public.messages m
where m.id = %s and m.conversation_id = %s and m.sender_id = (select private.user_id())
"""
_HOLDER = """
select private.operator_name(s.operator_id) as name, s.taken_at
from public.hitl_sessions s
where s.conversation_id = %s and s.ended_at is null
"""


@dataclass(frozen=True, slots=True)
class Holder:
    """The person who attends a conversation, and the time since when."""

    name: str | None
    taken_at: datetime | None


async def take(connection: Connection, conversation_id: UUID, *, over: bool) -> str:
    """Take a conversation over; return the outcome.

    The outcome is ``taken``, ``yours``, ``taken_by_other``, ``closed`` or ``not_found``. ``over``
    takes it also from a colleague.
    """
    return str(await fetch_value(connection, _TAKE, (conversation_id, over)))


async def resolve(connection: Connection, conversation_id: UUID, notes: str | None) -> str:
    """End a takeover; return ``resolved``, ``not_open``, ``taken_by_other`` or ``not_found``."""
    return str(await fetch_value(connection, _RESOLVE, (conversation_id, notes)))


async def resend(connection: Connection, message_id: UUID) -> str:
    """Send a message again; return ``resent``, ``not_resendable`` or ``not_found``."""
    return str(await fetch_value(connection, _RESEND, (message_id,)))


async def insert_reply(
    connection: Connection, company_id: UUID, message_id: UUID, conversation_id: UUID, content: str
) -> None:
    """Insert a person's message; triggers set its sender and ``seq`` and queue its delivery.

    Raises psycopg errors: NA001 (another person attends the conversation, or it is closed),
    InsufficientPrivilege (unknown or out of scope), UniqueViolation (the message is already
    stored).
    """
    await connection.execute(_REPLY, (company_id, message_id, conversation_id, content))


async def is_same_reply(connection: Connection, message_id: UUID, conversation_id: UUID) -> bool:
    """Return whether a stored message is the reader's own, in this conversation."""
    return bool(await fetch_value(connection, _SAME_REPLY, (message_id, conversation_id)))


async def find_holder(connection: Connection, conversation_id: UUID) -> Holder | None:
    """Return the person who attends the conversation now, if there is one."""
    return await fetch_one(connection, Holder, _HOLDER, (conversation_id,))
