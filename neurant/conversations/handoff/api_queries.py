"""The queries of takeovers and transfers for the API, limited by the reader's policies."""

from __future__ import annotations

from typing import LiteralString
from uuid import UUID

from neurant.api.listing import Listing, Sort, fetch_page
from neurant.conversations.handoff.schemas import (
    HitlSessionOut,
    HitlSessionQuery,
    TransferIn,
    TransferOut,
    TransferQuery,
)
from neurant.core.db.pool import Connection, fetch_one, fetch_value

_SESSION: LiteralString = """select s.id, s.conversation_id, s.chatbot_id, s.status, s.reason,
  s.reason_detail, s.operator_id, s.opened_at, s.taken_at, s.first_response_at, s.ended_at,
  s.ended_by, s.resolution_notes, s.escalated_at
from public.hitl_sessions s"""
_SESSIONS = Listing(
    select=_SESSION, sorts={"opened_at": Sort("s.opened_at", "timestamptz", "opened_at")}, id="s.id"
)
_SESSION_FILTERS: dict[str, LiteralString] = {
    "status": "s.status = %(status)s",
    "reason": "s.reason = %(reason)s",
    "conversation_id": "s.conversation_id = %(conversation_id)s",
    "chatbot_id": "s.chatbot_id = %(chatbot_id)s",
    "operator_id": "s.operator_id = %(operator_id)s",
    "opened_after": "s.opened_at >= %(opened_after)s",
    "opened_before": "s.opened_at < %(opened_before)s",
}
_ONE_SESSION: LiteralString = _SESSION + " where s.id = %s"
_OPEN: LiteralString = _SESSION + " where s.conversation_id = %s and s.ended_at is null"
_TRANSFER: LiteralString = """select t.id, t.session_id, t.conversation_id, t.chatbot_id,
  t.from_user_id, t.to_user_id, t.kind, t.reason, t.status, t.created_at, t.expires_at, t.decided_at
from public.hitl_transfers t"""
_TRANSFERS = Listing(
    select=_TRANSFER,
    sorts={"created_at": Sort("t.created_at", "timestamptz", "created_at")},
    id="t.id",
)
_TRANSFER_FILTERS: dict[str, LiteralString] = {
    "status": "t.status = %(status)s",
    "conversation_id": "t.conversation_id = %(conversation_id)s",
    "from_user_id": "t.from_user_id = %(from_user_id)s",
    "to_user_id": "t.to_user_id = %(to_user_id)s",
}
_ONE_TRANSFER: LiteralString = _TRANSFER + " where t.id = %s"
_PENDING: LiteralString = _TRANSFER + " where t.conversation_id = %s and t.status = 'pending'"
_REQUEST = "select private.request_transfer(%s, %s, %s, %s)"
_DECIDE = "select private.decide_transfer(%s, %s)"


async def list_sessions(
    connection: Connection, query: HitlSessionQuery
) -> tuple[list[HitlSessionOut], str | None]:
    """Return a page of takeovers and the next cursor."""
    given = query.model_dump(include=set(_SESSION_FILTERS), exclude_none=True)
    conditions = [_SESSION_FILTERS[name] for name in given]
    return await fetch_page(
        connection, HitlSessionOut, _SESSIONS, query, query.sort, conditions, given
    )


async def get_session(connection: Connection, session_id: UUID) -> HitlSessionOut | None:
    """Return one takeover; None if it is unknown or out of scope."""
    return await fetch_one(connection, HitlSessionOut, _ONE_SESSION, (session_id,))


async def open_session(connection: Connection, conversation_id: UUID) -> HitlSessionOut | None:
    """Return the open takeover of a conversation, if it has one."""
    return await fetch_one(connection, HitlSessionOut, _OPEN, (conversation_id,))


async def list_transfers(
    connection: Connection, query: TransferQuery
) -> tuple[list[TransferOut], str | None]:
    """Return a page of transfers and the next cursor."""
    given = query.model_dump(include=set(_TRANSFER_FILTERS), exclude_none=True)
    conditions = [_TRANSFER_FILTERS[name] for name in given]
    return await fetch_page(
        connection, TransferOut, _TRANSFERS, query, query.sort, conditions, given
    )


async def get_transfer(connection: Connection, transfer_id: UUID) -> TransferOut | None:
    """Return one transfer; None if it is unknown or out of scope."""
    return await fetch_one(connection, TransferOut, _ONE_TRANSFER, (transfer_id,))


async def request_transfer(connection: Connection, conversation_id: UUID, new: TransferIn) -> str:
    """Request a transfer and return the outcome.

    The outcome is ``requested``, ``not_yours``, ``invalid_target``, ``already_requested`` or
    ``not_found``.
    """
    given = (conversation_id, new.to_user_id, new.kind, new.reason)
    return str(await fetch_value(connection, _REQUEST, given))


async def pending_transfer(connection: Connection, conversation_id: UUID) -> TransferOut | None:
    """Return the pending transfer of a conversation, if it has one."""
    return await fetch_one(connection, TransferOut, _PENDING, (conversation_id,))


async def decide_transfer(connection: Connection, transfer_id: UUID, *, accept: bool) -> str:
    """Accept or reject a transfer and return the outcome.

    The outcome is ``accepted``, ``rejected``, ``expired``, ``closed``, or ``not_found`` if the
    transfer is not addressed to the caller.
    """
    return str(await fetch_value(connection, _DECIDE, (transfer_id, accept)))
