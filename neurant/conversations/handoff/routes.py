"""Takeovers over the API, and passing one on to a colleague."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import BackgroundTasks, Query, Response

from neurant.api.call import Call, needs
from neurant.api.listing import Page
from neurant.api.route import api_router
from neurant.conversations.handoff import records
from neurant.conversations.handoff.schemas import (
    HitlSessionOut,
    HitlSessionQuery,
    TransferIn,
    TransferOut,
    TransferQuery,
)
from neurant.conversations.outcomes import announce, check
from neurant.core.errors import ConflictError, ForbiddenError, NotFoundError

router = api_router("takeovers")
Reading = Annotated[Call, needs("conversations.read")]
Transferring = Annotated[Call, needs("conversations.transfer")]


@router.get("/hitl-sessions")
async def list_hitl_sessions(
    call: Reading, query: Annotated[HitlSessionQuery, Query()]
) -> Page[HitlSessionOut]:
    """The times that people stepped in, or were asked to; the latest first."""
    data, cursor = await records.list_sessions(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@router.get("/hitl-sessions/{session_id}")
async def get_hitl_session(call: Reading, session_id: UUID) -> HitlSessionOut:
    """One of them."""
    found = await records.get_session(call.connection, session_id)
    if found is None:
        raise NotFoundError("not_found")
    return found


@router.get("/transfers")
async def list_transfers(
    call: Reading, query: Annotated[TransferQuery, Query()]
) -> Page[TransferOut]:
    """Who asked whom to go on with a conversation; the latest first."""
    data, cursor = await records.list_transfers(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@router.get("/transfers/{transfer_id}")
async def get_transfer(call: Reading, transfer_id: UUID) -> TransferOut:
    """One of them."""
    return await _found(call, transfer_id)


@router.post("/conversations/{conversation_id}/transfers", status_code=201)
async def request_transfer(
    call: Transferring,
    conversation_id: UUID,
    new: TransferIn,
    response: Response,
    background: BackgroundTasks,
) -> TransferOut:
    """Ask a colleague of one's own level or above to go on with what one has taken.

    They have five minutes. 409 where one does not have it, where the colleague cannot have it, and
    where another is being asked.
    """
    check(await records.request_transfer(call.connection, conversation_id, new))
    made = await records.pending_transfer(call.connection, conversation_id)
    assert made is not None  # noqa: S101 - just made
    announce(background, call, conversation_id)
    response.headers["location"] = f"/v1/transfers/{made.id}"
    return made


@router.post("/transfers/{transfer_id}/accept")
async def accept_transfer(
    call: Transferring, transfer_id: UUID, background: BackgroundTasks
) -> TransferOut:
    """Go on with it. Only who was asked; 409 once it is over."""
    return await _decided(call, transfer_id, background, accept=True)


@router.post("/transfers/{transfer_id}/reject")
async def reject_transfer(
    call: Transferring, transfer_id: UUID, background: BackgroundTasks
) -> TransferOut:
    """Leave it where it is. Only who was asked; 409 once it is over."""
    return await _decided(call, transfer_id, background, accept=False)


async def _decided(
    call: Call, transfer_id: UUID, background: BackgroundTasks, *, accept: bool
) -> TransferOut:
    outcome = await records.decide_transfer(call.connection, transfer_id, accept=accept)
    found = await _found(call, transfer_id)
    if outcome == "not_found":  # one that may be seen is somebody else's to decide
        raise ForbiddenError("api.not_permitted", permission="conversations.transfer")
    if outcome not in ("accepted", "rejected"):
        raise ConflictError("conversations.transfer_over")
    announce(background, call, found.conversation_id)
    return found


async def _found(call: Call, transfer_id: UUID) -> TransferOut:
    found = await records.get_transfer(call.connection, transfer_id)
    if found is None:
        raise NotFoundError("not_found")
    return found
