"""The JSON endpoints of messages, of replies by the staff and of reactions to the bot's answers."""

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
from neurant.conversations import api_queries as conversation_queries
from neurant.conversations.explanation import ExplanationOut, explanation_out
from neurant.conversations.handoff import queries as hitl
from neurant.conversations.messages import queries
from neurant.conversations.messages.schemas import (
    MessageDetailOut,
    MessageId,
    MessageIn,
    MessageOut,
    MessageQuery,
    ReactionIn,
    ReactionOut,
    ReactionQuery,
)
from neurant.conversations.outcomes import announce, raise_for_outcome
from neurant.conversations.schemas import ConversationId
from neurant.core.errors import ConflictError, NotFoundError
from neurant.core.language import reader_language
from neurant.texts import text

router = api_router("messages")
Reading = Annotated[Call, needs("conversations.read")]
Working = Annotated[Call, needs("conversations.reply")]
_NOT_OURS = "NA001"  # raised by private.take_for_reply with the outcome as the hint


@router.get("/conversations/{conversation_id}/messages")
async def list_messages(
    call: Reading, conversation_id: ConversationId, query: Annotated[MessageQuery, Query()]
) -> Page[MessageOut]:
    """List the messages of a conversation, the oldest first unless ``sort`` says otherwise.

    Every member of the company may call it, for a conversation that they may see.
    """
    if not await conversation_queries.is_visible(call.connection, conversation_id):
        raise NotFoundError("not_found")
    data, cursor = await queries.list_messages(call.connection, conversation_id, query)
    return Page(data=data, next_cursor=cursor)


@router.post("/conversations/{conversation_id}/messages", status_code=201)
async def reply(
    call: Working,
    conversation_id: ConversationId,
    new: MessageIn,
    response: Response,
    background: BackgroundTasks,
) -> MessageDetailOut:
    """Send a reply as a person, which takes the conversation over from the bot.

    Every member of the company may call it, for a conversation that they may see. Answers 201 with
    the message. Refused with 409: ``conversations.taken_by_other`` if another person attends the
    conversation, ``conversations.closed``, ``conversations.message_id_taken`` if the given ``id``
    belongs to another message, or a code ``limit.…`` if the plan allows no further takeover.
    """
    message_id = new.id or uuid.uuid4()
    try:
        async with (
            call.connection.transaction()
        ):  # a savepoint: a failure must not abort the call's transaction
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
            raise_for_outcome(error.diag.message_hint or "taken_by_other")
        raise
    announce(background, call, conversation_id)
    response.headers["location"] = f"/v1/messages/{message_id}"
    return await _found(call, message_id)


@router.get("/messages/{message_id}")
async def get_message(call: Reading, message_id: MessageId) -> MessageDetailOut:
    """Return one message with the state of its delivery.

    Every member of the company may call it, for a conversation that they may see.
    """
    return await _found(call, message_id)


@router.get("/messages/{message_id}/explanation")
async def explain_message(call: Reading, message_id: MessageId) -> ExplanationOut:
    """Return why the bot wrote a message: what it understood, found and decided.

    Every member of the company may call it, for a conversation that they may see. Refused with 404
    ``not_found`` if the message is unknown or has no explanation, such as a message of a person.
    """
    found = await queries.get_explanation(call.connection, message_id)
    if found is None:
        raise NotFoundError("not_found")
    language = reader_language(call.request)
    return explanation_out(found, lambda name, **p: text(name, language, **p))


@router.post("/messages/{message_id}/resend")
async def resend_message(
    call: Working, message_id: MessageId, background: BackgroundTasks
) -> MessageDetailOut:
    """Send a message again that failed or may not have arrived.

    Every member of the company may call it, for a conversation that they may see. Refused with 409
    ``conversations.not_resendable`` if the message is in another state.
    """
    raise_for_outcome(await hitl.resend(call.connection, message_id))
    found = await _found(call, message_id)
    announce(background, call, found.conversation_id)
    return found


@router.get("/messages/{message_id}/reactions")
async def list_reactions(
    call: Reading, message_id: MessageId, query: Annotated[ReactionQuery, Query()]
) -> Page[ReactionOut]:
    """List the reactions of the end user and of the staff to a message.

    Every member of the company may call it, for a conversation that they may see.
    """
    await _found(call, message_id)
    data, cursor = await queries.list_reactions(call.connection, message_id, query)
    return Page(data=data, next_cursor=cursor)


@router.put("/messages/{message_id}/reaction")
async def react(call: Working, message_id: MessageId, reaction: ReactionIn) -> ReactionOut:
    """Set the caller's reaction to an answer of the bot; it replaces an earlier one.

    Every member of the company may call it, for a conversation that they may see. Refused with 409
    ``conversations.not_the_bots`` if the message is not the bot's.
    """
    if (await _found(call, message_id)).sender_type != "bot":
        raise ConflictError("conversations.not_the_bots")
    made = await queries.react(call.connection, call.caller.user_id, message_id, reaction)
    assert made is not None  # noqa: S101 - the statement has a RETURNING clause
    return made


@router.delete("/messages/{message_id}/reaction", status_code=204)
async def forget_reaction(call: Working, message_id: MessageId) -> None:
    """Delete the caller's reaction to a message, if there is one.

    Every member of the company may call it, for a conversation that they may see.
    """
    await _found(call, message_id)
    await queries.forget_reaction(call.connection, message_id)


async def _found(call: Call, message_id: UUID) -> MessageDetailOut:
    found = await queries.get_message(call.connection, message_id)
    if found is None:
        raise NotFoundError("not_found")
    return found
