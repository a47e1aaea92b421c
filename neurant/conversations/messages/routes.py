"""Messages over the API: reading them, answering as a person, reacting to the bot's answers."""

from __future__ import annotations

import uuid
from typing import Annotated
from uuid import UUID

import psycopg
from fastapi import BackgroundTasks, Query, Response
from psycopg import errors as pg

from neurant.api.call import Call, needs
from neurant.api.listing import Page
from neurant.api.route import api_router
from neurant.conversations import records as conversations
from neurant.conversations.handoff import queries as hitl
from neurant.conversations.messages import queries
from neurant.conversations.messages.schemas import (
    MessageDetailOut,
    MessageIn,
    MessageOut,
    MessageQuery,
    ReactionIn,
    ReactionOut,
    ReactionQuery,
)
from neurant.conversations.outcomes import announce, check
from neurant.core.errors import ConflictError, NotFoundError

router = api_router("messages")
Reading = Annotated[Call, needs("conversations.read")]
Working = Annotated[Call, needs("conversations.reply")]
_NOT_OURS = "NA001"  # raised by private.take_for_reply, with the outcome as hint


@router.get("/conversations/{conversation_id}/messages")
async def list_messages(
    call: Reading, conversation_id: UUID, query: Annotated[MessageQuery, Query()]
) -> Page[MessageOut]:
    """What was said in a conversation."""
    if not await conversations.is_visible(call.connection, conversation_id):
        raise NotFoundError("not_found")
    data, cursor = await queries.list_messages(call.connection, conversation_id, query)
    return Page(data=data, next_cursor=cursor)


@router.post("/conversations/{conversation_id}/messages", status_code=201)
async def reply(
    call: Working,
    conversation_id: UUID,
    new: MessageIn,
    response: Response,
    background: BackgroundTasks,
) -> MessageDetailOut:
    """Answer as a person, which takes the conversation.

    409 where somebody else has it, where it is closed, and where as many are attended as the plan
    allows.
    """
    message_id = new.id or uuid.uuid4()
    try:
        async with call.connection.transaction():  # what fails must not end the call's own
            await hitl.insert_reply(
                call.connection, call.caller.company_id, message_id, conversation_id, new.content
            )
    except pg.UniqueViolation:
        if not await hitl.is_same_reply(call.connection, message_id, conversation_id):
            raise ConflictError("conversations.message_id_taken") from None
    except pg.InsufficientPrivilege:
        raise NotFoundError("not_found") from None
    except psycopg.Error as error:
        if error.sqlstate == _NOT_OURS:
            check(error.diag.message_hint or "taken_by_other")
        raise
    announce(background, call, conversation_id)
    response.headers["location"] = f"/v1/messages/{message_id}"
    return await _found(call, message_id)


@router.get("/messages/{message_id}")
async def get_message(call: Reading, message_id: UUID) -> MessageDetailOut:
    """One message, with what became of its delivery."""
    return await _found(call, message_id)


@router.post("/messages/{message_id}/resend")
async def resend_message(
    call: Working, message_id: UUID, background: BackgroundTasks
) -> MessageDetailOut:
    """Send again what failed, or what may not have arrived; anything else is 409."""
    check(await hitl.resend(call.connection, message_id))
    found = await _found(call, message_id)
    announce(background, call, found.conversation_id)
    return found


@router.get("/messages/{message_id}/reactions")
async def list_reactions(
    call: Reading, message_id: UUID, query: Annotated[ReactionQuery, Query()]
) -> Page[ReactionOut]:
    """What the end user and the staff think of it."""
    await _found(call, message_id)
    data, cursor = await queries.list_reactions(call.connection, message_id, query)
    return Page(data=data, next_cursor=cursor)


@router.put("/messages/{message_id}/reaction")
async def react(call: Working, message_id: UUID, reaction: ReactionIn) -> ReactionOut:
    """One's own reaction to an answer of the bot, instead of the one before; else 409."""
    if (await _found(call, message_id)).sender_type != "bot":
        raise ConflictError("conversations.not_the_bots")
    made = await queries.react(call.connection, call.caller.user_id, message_id, reaction)
    assert made is not None  # noqa: S101 - an insert that returns
    return made


@router.delete("/messages/{message_id}/reaction", status_code=204)
async def forget_reaction(call: Working, message_id: UUID) -> None:
    """Take one's own reaction back."""
    await _found(call, message_id)
    await queries.forget_reaction(call.connection, message_id)


async def _found(call: Call, message_id: UUID) -> MessageDetailOut:
    found = await queries.get_message(call.connection, message_id)
    if found is None:
        raise NotFoundError("not_found")
    return found
