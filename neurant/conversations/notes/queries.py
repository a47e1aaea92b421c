"""The queries of notes about conversations, limited by the reader's policies."""

from __future__ import annotations

from typing import LiteralString
from uuid import UUID

from neurant.api.listing import Listing, Sort, fetch_page
from neurant.conversations.notes.schemas import NoteOut, NoteQuery
from neurant.core.db.pool import Connection, fetch_one

_LISTING = Listing(
    select="select n.id, n.conversation_id, n.author_id, n.content, n.created_at"
    "\nfrom public.notes n",
    sorts={"created_at": Sort("n.created_at", "timestamptz", "created_at")},
    id="n.id",
)
_INSERT = """
insert into public.notes (company_id, conversation_id, content)
values ((select private.company_id('conversations.reply')), %s, %s)
returning id, conversation_id, author_id, content, created_at
"""


async def list_notes(
    connection: Connection, conversation_id: UUID, query: NoteQuery
) -> tuple[list[NoteOut], str | None]:
    """Return a page of a conversation's notes and the next cursor."""
    conditions: list[LiteralString] = ["n.conversation_id = %(conversation_id)s"]
    given = {"conversation_id": conversation_id}
    return await fetch_page(connection, NoteOut, _LISTING, query, query.sort, conditions, given)


async def insert_note(
    connection: Connection, conversation_id: UUID, content: str
) -> NoteOut | None:
    """Insert a note of the caller and return it."""
    return await fetch_one(connection, NoteOut, _INSERT, (conversation_id, content))
