"""Conversations over the API: the list, one of them, what people do with it, and the archive."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import BackgroundTasks, Query

from neurant.api.call import Call, needs
from neurant.api.listing import Page
from neurant.api.route import api_router
from neurant.conversations import records
from neurant.conversations.handoff import queries as hitl
from neurant.conversations.messages import queries as messages
from neurant.conversations.messages.schemas import MessageOut, MessageQuery
from neurant.conversations.outcomes import announce, check
from neurant.conversations.queries import restore_conversation as restore
from neurant.conversations.schemas import (
    ArchivedQuery,
    AssignIn,
    ConversationDetailOut,
    ConversationOut,
    ConversationQuery,
    ResolveIn,
)
from neurant.core.errors import ConflictError, NotFoundError

router = api_router("conversations")
Reading = Annotated[Call, needs("conversations.read")]
Working = Annotated[Call, needs("conversations.reply")]
Assigning = Annotated[Call, needs("conversations.assign")]
Restoring = Annotated[Call, needs("data.restore")]


@router.get("/conversations")
async def list_conversations(
    call: Reading, query: Annotated[ConversationQuery, Query()]
) -> Page[ConversationOut]:
    """Those that the caller may see, the newest message first."""
    data, cursor = await records.list_conversations(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@router.get("/conversations/{conversation_id}")
async def get_conversation(call: Reading, conversation_id: UUID) -> ConversationDetailOut:
    """One of them, with its open takeover."""
    return await _found(call, conversation_id)


@router.post("/conversations/{conversation_id}/take")
async def take_conversation(
    call: Working, conversation_id: UUID, background: BackgroundTasks
) -> ConversationDetailOut:
    """Step in: the bot is silent from now on. 409 where somebody else has it, or it is closed."""
    check(await hitl.take(call.connection, conversation_id, over=False))
    return await _changed(call, conversation_id, background)


@router.post("/conversations/{conversation_id}/take-over")
async def take_over_conversation(
    call: Working, conversation_id: UUID, background: BackgroundTasks
) -> ConversationDetailOut:
    """Step in also where somebody else has it; operadores cannot (409)."""
    check(await hitl.take(call.connection, conversation_id, over=True))
    return await _changed(call, conversation_id, background)


@router.post("/conversations/{conversation_id}/resolve")
async def resolve_conversation(
    call: Working, conversation_id: UUID, told: ResolveIn, background: BackgroundTasks
) -> ConversationDetailOut | None:
    """Give it back to the bot. 409 where nobody has it or waits for somebody.

    null: done, and no longer the caller's to see.
    """
    check(await hitl.resolve(call.connection, conversation_id, told.notes))
    return await _given_back(call, conversation_id, background)


@router.post("/conversations/{conversation_id}/assign")
async def assign_conversation(
    call: Assigning, conversation_id: UUID, to: AssignIn, background: BackgroundTasks
) -> ConversationDetailOut:
    """Give it to somebody, who is told."""
    check(await records.assign(call.connection, conversation_id, to.user_id))
    return await _changed(call, conversation_id, background)


@router.post("/conversations/{conversation_id}/close")
async def close_conversation(
    call: Working, conversation_id: UUID, background: BackgroundTasks
) -> ConversationDetailOut | None:
    """End it, and a takeover of it; what the end user says next begins another one.

    One that is closed stays as it is. null: done, and no longer the caller's to see.
    """
    outcome = await records.close(call.connection, conversation_id)
    if outcome in ("closed", "closed_before"):
        return await _given_back(call, conversation_id, background)
    check(outcome)
    raise ConflictError("conversations.closed")


@router.get("/archived-conversations")
async def list_archived_conversations(
    call: Reading, query: Annotated[ArchivedQuery, Query()]
) -> Page[ConversationOut]:
    """Those that ended long ago, the latest first."""
    data, cursor = await records.list_archived(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@router.get("/archived-conversations/{conversation_id}")
async def get_archived_conversation(call: Reading, conversation_id: UUID) -> ConversationDetailOut:
    """One of them."""
    found = await records.get_archived(call.connection, conversation_id)
    if found is None:
        raise NotFoundError("not_found")
    return found


@router.get("/archived-conversations/{conversation_id}/messages")
async def list_archived_messages(
    call: Reading, conversation_id: UUID, query: Annotated[MessageQuery, Query()]
) -> Page[MessageOut]:
    """What was said in it."""
    if not await records.is_visible(call.connection, conversation_id, archived=True):
        raise NotFoundError("not_found")
    data, cursor = await messages.list_messages(
        call.connection, conversation_id, query, archived=True
    )
    return Page(data=data, next_cursor=cursor)


@router.post("/archived-conversations/{conversation_id}/restore")
async def restore_conversation(
    call: Restoring, conversation_id: UUID, background: BackgroundTasks
) -> ConversationDetailOut:
    """Bring it back among the others, where it stays for 30 days at least."""
    check(await restore(call.connection, conversation_id))
    return await _changed(call, conversation_id, background)


async def _found(call: Call, conversation_id: UUID) -> ConversationDetailOut:
    found = await records.get_conversation(call.connection, conversation_id)
    if found is None:
        raise NotFoundError("not_found")
    return found


async def _given_back(
    call: Call, conversation_id: UUID, background: BackgroundTasks
) -> ConversationDetailOut | None:
    """An operador sees what is assigned to them, of other people's bots only while it is."""
    announce(background, call, conversation_id)
    return await records.get_conversation(call.connection, conversation_id)


async def _changed(
    call: Call, conversation_id: UUID, background: BackgroundTasks
) -> ConversationDetailOut:
    announce(background, call, conversation_id)
    return await _found(call, conversation_id)
