"""The rules of attending a conversation as a person, with the announcement of each change."""

from __future__ import annotations

from uuid import UUID

import psycopg
from psycopg import errors as pg

from neurant.auth.people import SignedIn
from neurant.conversations.handoff import queries
from neurant.core.db.pool import Pool
from neurant.core.db.tenancy import tenant
from neurant.core.errors import BadInputError, NotFoundError
from neurant.core.realtime import Hub
from neurant.plans.limits import within_limits

MAX_CHARACTERS = 20_000
MAX_NOTES = 2_000
_NOT_OURS = "NA001"  # raised by private.take_for_reply with the outcome as the hint


def _checked(content: str) -> str:
    content = content.replace("\r\n", "\n").strip()
    if not content or "\0" in content:
        raise BadInputError("text_empty")
    if len(content) > MAX_CHARACTERS:
        raise BadInputError("text_too_long", most=MAX_CHARACTERS, length=len(content))
    return content


async def reply(
    pool: Pool, hub: Hub, staff: SignedIn, conversation_id: UUID, message_id: UUID, content: str
) -> str:
    """Reply as a person, which takes the conversation over; return the outcome.

    The outcome is ``sent``, ``taken_by_other`` or ``closed``. A repeated ``message_id`` stores no
    second message. Raises BadInputError, NotFoundError, and LimitReachedError if the plan allows no
    further takeover.
    """
    content = _checked(content)
    try:
        async with within_limits(pool, staff.principal) as connection:
            await queries.insert_reply(
                connection, staff.company_id, message_id, conversation_id, content
            )
    except pg.UniqueViolation:
        async with tenant(pool, staff.principal) as connection:
            if not await queries.is_same_reply(connection, message_id, conversation_id):
                raise NotFoundError("not_found") from None
        return "sent"
    except pg.InsufficientPrivilege:
        raise NotFoundError("not_found") from None
    except psycopg.Error as error:
        if error.sqlstate != _NOT_OURS:
            raise
        return error.diag.message_hint or "taken_by_other"
    hub.announce(staff.company_id, conversation_id)
    hub.announce_work()
    return "sent"


async def take(
    pool: Pool, hub: Hub, staff: SignedIn, conversation_id: UUID, *, over: bool = False
) -> str:
    """Take a conversation over; return ``taken``, ``yours``, ``taken_by_other`` or ``closed``.

    Raises NotFoundError, and LimitReachedError if the plan allows no further takeover.
    """
    async with within_limits(pool, staff.principal) as connection:
        outcome = await queries.take(connection, conversation_id, over=over)
    return _announced(hub, staff, conversation_id, outcome)


async def resolve(pool: Pool, hub: Hub, staff: SignedIn, conversation_id: UUID, notes: str) -> str:
    """End a takeover; return ``resolved``, ``not_open`` or ``taken_by_other``.

    Raises NotFoundError.
    """
    kept = notes.replace("\0", "").strip()[:MAX_NOTES] or None
    async with tenant(pool, staff.principal) as connection:
        outcome = await queries.resolve(connection, conversation_id, kept)
    return _announced(hub, staff, conversation_id, outcome)


async def resend(
    pool: Pool, hub: Hub, staff: SignedIn, conversation_id: UUID, message_id: UUID
) -> str:
    """Send again a message that failed or may not have arrived: ``resent``, ``not_resendable``."""
    async with tenant(pool, staff.principal) as connection:
        outcome = await queries.resend(connection, message_id)
    return _announced(hub, staff, conversation_id, outcome)


def _announced(hub: Hub, staff: SignedIn, conversation_id: UUID, outcome: str) -> str:
    if outcome == "not_found":
        raise NotFoundError("not_found")
    hub.announce(staff.company_id, conversation_id)
    hub.announce_work()
    return outcome
