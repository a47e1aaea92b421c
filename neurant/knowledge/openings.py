"""The first passages of a bot's documents, which show what they are about."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from neurant.core.db.pool import Connection, fetch_all

_PASSAGES = """
select coalesce(d.title, d.original_filename) as document, c.section_title, c.content
from public.documents d
join public.document_chunks c on c.company_id = d.company_id and c.document_id = d.id
where d.retired_at is null and d.processing_status = 'completed'
  and (d.chatbot_id is null or d.chatbot_id = %s)
order by d.created_at desc, d.id, c.chunk_index
limit 40
"""


@dataclass(frozen=True, slots=True)
class Opening:
    """A passage from the beginning of a bot's documents, with the heading above it."""

    document: str
    section_title: str | None
    content: str


async def list_openings(connection: Connection, chatbot_id: UUID) -> list[Opening]:
    """Return the first passages of the bot's documents, the newest document first."""
    return await fetch_all(connection, Opening, _PASSAGES, (chatbot_id,))
