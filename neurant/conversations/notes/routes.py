"""Notes over the API."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import BackgroundTasks, Query

from neurant.api.call import Call, needs
from neurant.api.listing import Page
from neurant.api.route import api_router
from neurant.conversations import records as conversations
from neurant.conversations.notes import queries
from neurant.conversations.notes.schemas import NoteIn, NoteOut, NoteQuery
from neurant.conversations.outcomes import announce
from neurant.core.errors import NotFoundError

router = api_router("notes")
Reading = Annotated[Call, needs("conversations.read")]
Working = Annotated[Call, needs("conversations.reply")]


@router.get("/conversations/{conversation_id}/notes")
async def list_notes(
    call: Reading, conversation_id: UUID, query: Annotated[NoteQuery, Query()]
) -> Page[NoteOut]:
    """What colleagues wrote about a conversation."""
    await _check_visible(call, conversation_id)
    data, cursor = await queries.list_notes(call.connection, conversation_id, query)
    return Page(data=data, next_cursor=cursor)


@router.post("/conversations/{conversation_id}/notes", status_code=201)
async def create_note(
    call: Working, conversation_id: UUID, new: NoteIn, background: BackgroundTasks
) -> NoteOut:
    """Write one; it stays as it is."""
    await _check_visible(call, conversation_id)
    made = await queries.insert_note(call.connection, conversation_id, new.content)
    assert made is not None  # noqa: S101 - an insert that returns
    announce(background, call, conversation_id)
    return made


async def _check_visible(call: Call, conversation_id: UUID) -> None:
    if not await conversations.is_visible(call.connection, conversation_id):
        raise NotFoundError("not_found")
