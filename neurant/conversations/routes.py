"""The JSON endpoints of conversations and of their archive."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import BackgroundTasks, Query

from neurant.api.call import Call, needs
from neurant.api.listing import Page
from neurant.api.route import api_router
from neurant.conversations import api_queries
from neurant.conversations.handoff import queries as hitl
from neurant.conversations.messages import queries as messages
from neurant.conversations.messages.schemas import MessageOut, MessageQuery
from neurant.conversations.outcomes import announce, raise_for_outcome
from neurant.conversations.queries import restore_conversation as restore
from neurant.conversations.schemas import (
    ArchivedQuery,
    AssignIn,
    ConversationDetailOut,
    ConversationId,
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
    """List the conversations that the caller may see, by default the latest message first.

    Every member of the company may call it. An operador sees the conversations of the bots that are
    assigned to them, and those that are assigned to the operador.
    """
    data, cursor = await api_queries.list_conversations(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@router.get("/conversations/{conversation_id}")
async def get_conversation(call: Reading, conversation_id: ConversationId) -> ConversationDetailOut:
    """Return one conversation with its open takeover.

    Every member of the company may call it, for a conversation that they may see.
    """
    return await _found(call, conversation_id)


@router.post("/conversations/{conversation_id}/take")
async def take_conversation(
    call: Working, conversation_id: ConversationId, background: BackgroundTasks
) -> ConversationDetailOut:
    """Take a conversation over from the bot, which then stops answering.

    Every member of the company may call it, for a conversation that they may see. Refused with 409:
    ``conversations.taken_by_other`` if another person attends it, ``conversations.closed``, or a
    code ``limit.…`` if the plan allows no further takeover.
    """
    raise_for_outcome(await hitl.take(call.connection, conversation_id, over=False))
    return await _changed(call, conversation_id, background)


@router.post("/conversations/{conversation_id}/take-over")
async def take_over_conversation(
    call: Working, conversation_id: ConversationId, background: BackgroundTasks
) -> ConversationDetailOut:
    """Take a conversation over, also from a colleague who attends it.

    Supervisors, administradores and the owner may take it from a colleague; an operador is refused
    with 409 ``conversations.taken_by_other``. Otherwise as ``take``.
    """
    raise_for_outcome(await hitl.take(call.connection, conversation_id, over=True))
    return await _changed(call, conversation_id, background)


@router.post("/conversations/{conversation_id}/resolve")
async def resolve_conversation(
    call: Working, conversation_id: ConversationId, told: ResolveIn, background: BackgroundTasks
) -> ConversationDetailOut | None:
    """End the takeover of a conversation, which the bot attends again.

    Every member of the company may call it, for a conversation that they may see. Answers null when
    the caller may no longer see the conversation. Refused with 409: ``conversations.not_open`` if
    it has no takeover, ``conversations.taken_by_other`` if an operador would end another person's
    takeover.
    """
    raise_for_outcome(await hitl.resolve(call.connection, conversation_id, told.notes))
    return await _given_back(call, conversation_id, background)


@router.post("/conversations/{conversation_id}/assign")
async def assign_conversation(
    call: Assigning, conversation_id: ConversationId, to: AssignIn, background: BackgroundTasks
) -> ConversationDetailOut:
    """Assign a conversation to a member of the staff, who is notified.

    Supervisors, administradores and the owner may call it. Refused with 409:
    ``conversations.invalid_target`` if that person cannot attend the bot's conversations,
    ``conversations.closed``, or a code ``limit.…`` if the plan allows no further takeover.
    """
    raise_for_outcome(await api_queries.assign(call.connection, conversation_id, to.user_id))
    return await _changed(call, conversation_id, background)


@router.post("/conversations/{conversation_id}/close")
async def close_conversation(
    call: Working, conversation_id: ConversationId, background: BackgroundTasks
) -> ConversationDetailOut | None:
    """Close a conversation and end its takeover; the end user's next message starts a new one.

    Every member of the company may call it, for a conversation that they may see; an operador is
    refused with 409 ``conversations.taken_by_other`` if another person attends it. A conversation
    that is already closed stays unchanged. Answers null when the caller may no longer see it.
    """
    outcome = await api_queries.close(call.connection, conversation_id)
    if outcome in ("closed", "closed_before"):
        return await _given_back(call, conversation_id, background)
    raise_for_outcome(outcome)
    raise ConflictError("conversations.closed")


@router.get("/archived-conversations")
async def list_archived_conversations(
    call: Reading, query: Annotated[ArchivedQuery, Query()]
) -> Page[ConversationOut]:
    """List the archived conversations, by default the latest first.

    Every member of the company may call it, for the bots that they may see.
    """
    data, cursor = await api_queries.list_archived(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@router.get("/archived-conversations/{conversation_id}")
async def get_archived_conversation(
    call: Reading, conversation_id: ConversationId
) -> ConversationDetailOut:
    """Return one archived conversation.

    Every member of the company may call it, for the bots that they may see.
    """
    found = await api_queries.get_archived(call.connection, conversation_id)
    if found is None:
        raise NotFoundError("not_found")
    return found


@router.get("/archived-conversations/{conversation_id}/messages")
async def list_archived_messages(
    call: Reading, conversation_id: ConversationId, query: Annotated[MessageQuery, Query()]
) -> Page[MessageOut]:
    """List the messages of an archived conversation.

    Every member of the company may call it, for the bots that they may see.
    """
    if not await api_queries.is_visible(call.connection, conversation_id, archived=True):
        raise NotFoundError("not_found")
    data, cursor = await messages.list_messages(
        call.connection, conversation_id, query, archived=True
    )
    return Page(data=data, next_cursor=cursor)


@router.post("/archived-conversations/{conversation_id}/restore")
async def restore_conversation(
    call: Restoring, conversation_id: ConversationId, background: BackgroundTasks
) -> ConversationDetailOut:
    """Restore a conversation from the archive; it stays restored for at least 30 days.

    The owner and administradores may call it. Refused with 409 ``conversations.in_conflict`` if it
    cannot be restored now.
    """
    raise_for_outcome(await restore(call.connection, conversation_id))
    return await _changed(call, conversation_id, background)


async def _found(call: Call, conversation_id: UUID) -> ConversationDetailOut:
    found = await api_queries.get_conversation(call.connection, conversation_id)
    if found is None:
        raise NotFoundError("not_found")
    return found


async def _given_back(
    call: Call, conversation_id: UUID, background: BackgroundTasks
) -> ConversationDetailOut | None:
    """Return the conversation, or None if the caller may no longer see it.

    An operador sees a conversation of a bot that is not assigned to them only while the
    conversation is assigned to them.
    """
    announce(background, call, conversation_id)
    return await api_queries.get_conversation(call.connection, conversation_id)


async def _changed(
    call: Call, conversation_id: UUID, background: BackgroundTasks
) -> ConversationDetailOut:
    announce(background, call, conversation_id)
    return await _found(call, conversation_id)
