"""The JSON endpoints of takeovers by people and of their transfer to a colleague."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import BackgroundTasks, Query, Response

from neurant.api.call import Call, needs
from neurant.api.listing import Page
from neurant.api.route import api_router
from neurant.conversations.handoff import api_queries
from neurant.conversations.handoff.schemas import (
    HitlSessionOut,
    HitlSessionQuery,
    SessionId,
    TransferId,
    TransferIn,
    TransferOut,
    TransferQuery,
)
from neurant.conversations.outcomes import announce, raise_for_outcome
from neurant.conversations.schemas import ConversationId
from neurant.core.errors import ConflictError, ForbiddenError, NotFoundError

router = api_router("takeovers")
Reading = Annotated[Call, needs("conversations.read")]
Transferring = Annotated[Call, needs("conversations.transfer")]


@router.get("/hitl-sessions")
async def list_hitl_sessions(
    call: Reading, query: Annotated[HitlSessionQuery, Query()]
) -> Page[HitlSessionOut]:
    """List the takeovers: the times that a person attended a conversation or was requested.

    Every member of the company may call it. The newest come first. An operador sees only the
    takeovers of the conversations that they may see.
    """
    data, cursor = await api_queries.list_sessions(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@router.get("/hitl-sessions/{session_id}")
async def get_hitl_session(call: Reading, session_id: SessionId) -> HitlSessionOut:
    """Return one takeover of a conversation that the caller may see.

    Every member of the company may call it.
    """
    found = await api_queries.get_session(call.connection, session_id)
    if found is None:
        raise NotFoundError("not_found")
    return found


@router.get("/transfers")
async def list_transfers(
    call: Reading, query: Annotated[TransferQuery, Query()]
) -> Page[TransferOut]:
    """List the requests to transfer a conversation to a colleague, the newest first.

    Every member of the company may call it. An operador sees only the transfers of the
    conversations that they may see.
    """
    data, cursor = await api_queries.list_transfers(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@router.get("/transfers/{transfer_id}")
async def get_transfer(call: Reading, transfer_id: TransferId) -> TransferOut:
    """Return one transfer request that the caller may see.

    Every member of the company may call it.
    """
    return await _found(call, transfer_id)


@router.post("/conversations/{conversation_id}/transfers", status_code=201)
async def request_transfer(
    call: Transferring,
    conversation_id: ConversationId,
    new: TransferIn,
    response: Response,
    background: BackgroundTasks,
) -> TransferOut:
    """Ask a colleague to take over a conversation that the caller attends.

    Answers 201 with the transfer, which expires after five minutes. The colleague must be active,
    serve the bot and have a role that is not below the caller's. Refused with 409:
    ``conversations.not_yours`` if the caller does not attend the conversation,
    ``conversations.invalid_target`` if the colleague cannot attend it,
    ``conversations.already_requested`` if another request is pending.
    """
    raise_for_outcome(await api_queries.request_transfer(call.connection, conversation_id, new))
    made = await api_queries.pending_transfer(call.connection, conversation_id)
    assert made is not None  # noqa: S101 - created in this transaction
    announce(background, call, conversation_id)
    response.headers["location"] = f"/v1/transfers/{made.id}"
    return made


@router.post("/transfers/{transfer_id}/accept")
async def accept_transfer(
    call: Transferring, transfer_id: TransferId, background: BackgroundTasks
) -> TransferOut:
    """Accept a transfer: the conversation moves to the caller.

    Only the colleague who was asked may call it (403 otherwise). Refused with 409
    ``conversations.transfer_over`` if the request is no longer pending.
    """
    return await _decided(call, transfer_id, background, accept=True)


@router.post("/transfers/{transfer_id}/reject")
async def reject_transfer(
    call: Transferring, transfer_id: TransferId, background: BackgroundTasks
) -> TransferOut:
    """Reject a transfer: the conversation stays with the person who attends it.

    Only the colleague who was asked may call it (403 otherwise). Refused with 409
    ``conversations.transfer_over`` if the request is no longer pending.
    """
    return await _decided(call, transfer_id, background, accept=False)


async def _decided(
    call: Call, transfer_id: UUID, background: BackgroundTasks, *, accept: bool
) -> TransferOut:
    outcome = await api_queries.decide_transfer(call.connection, transfer_id, accept=accept)
    found = await _found(call, transfer_id)
    if outcome == "not_found":  # visible, but addressed to another person
        raise ForbiddenError("api.not_permitted", permission="conversations.transfer")
    if outcome not in ("accepted", "rejected"):
        raise ConflictError("conversations.transfer_over")
    announce(background, call, found.conversation_id)
    return found


async def _found(call: Call, transfer_id: UUID) -> TransferOut:
    found = await api_queries.get_transfer(call.connection, transfer_id)
    if found is None:
        raise NotFoundError("not_found")
    return found
