"""The JSON endpoints of notes."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import BackgroundTasks, Query

from neurant.api.call import Call, needs
from neurant.api.listing import Page
from neurant.api.route import api_router
from neurant.conversations import api_queries as conversation_queries
from neurant.conversations.notes import queries
from neurant.conversations.notes.schemas import NoteIn, NoteOut, NoteQuery
from neurant.conversations.outcomes import announce
from neurant.conversations.schemas import ConversationId
from neurant.core.errors import NotFoundError

router = api_router("notes")
Reading = Annotated[Call, needs("conversations.read")]
Working = Annotated[Call, needs("conversations.reply")]


@router.get("/conversations/{conversation_id}/notes")
async def list_notes(
    call: Reading, conversation_id: ConversationId, query: Annotated[NoteQuery, Query()]
) -> Page[NoteOut]:
    """List the notes that the staff wrote about a conversation.

    Every member of the company may call it, for a conversation that they may see.
    """
    await _check_visible(call, conversation_id)
    data, cursor = await queries.list_notes(call.connection, conversation_id, query)
    return Page(data=data, next_cursor=cursor)


@router.post("/conversations/{conversation_id}/notes", status_code=201)
async def create_note(
    call: Working, conversation_id: ConversationId, new: NoteIn, background: BackgroundTasks
) -> NoteOut:
    """Add a note to a conversation and return it with status 201; notes cannot be changed.

    Every member of the company may call it, for a conversation that they may see.
    """
    await _check_visible(call, conversation_id)
    made = await queries.insert_note(call.connection, conversation_id, new.content)
    assert made is not None  # noqa: S101 - the statement has a RETURNING clause
    announce(background, call, conversation_id)
    return made


async def _check_visible(call: Call, conversation_id: UUID) -> None:
    if not await conversation_queries.is_visible(call.connection, conversation_id):
        raise NotFoundError("not_found")
