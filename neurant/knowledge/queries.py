"""The SQL of documents, their passages and the questions asked, under the reader's policies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

from neurant.api.listing import Listing, Sort, fetch_page
from neurant.core.db.pool import Connection, fetch_one, fetch_value, set_clause
from neurant.knowledge.schemas import (
    ChunkOut,
    ChunkQuery,
    DocumentOut,
    DocumentQuery,
    KnowledgeQueriesQuery,
    KnowledgeQueryOut,
)

_COLUMNS = """
select d.id, d.chatbot_id, d.original_filename as filename, d.file_type, d.file_size_bytes,
  d.processing_status::text as status, d.processing_progress as progress,
  d.processing_error as error, d.unread_pages, d.character_count, d.chunk_count, d.title,
  d.description, d.category, coalesce(d.tags, '{}') as tags, d.language, d.query_count,
  d.last_used_at, d.uploaded_by, d.created_at, d.updated_at, d.retired_at
from public.documents d
"""
_LISTING = Listing(
    select=_COLUMNS.strip(),
    sorts={
        "created_at": Sort("d.created_at", "timestamptz", "created_at"),
        "filename": Sort("d.original_filename", "text", "filename"),
    },
    id="d.id",
)
_FILTERS: Mapping[str, LiteralString] = {
    "chatbot_id": "d.chatbot_id = %(chatbot_id)s",
    "status": "d.processing_status = %(status)s::public.processing_status_enum",
    "file_type": "d.file_type = %(file_type)s",
    "category": "d.category = %(category)s",
    "tag": "%(tag)s = any (d.tags)",
    "language": "d.language = %(language)s",
    "q": "d.id in (select s.document_id from private.search_documents(%(q)s) s)",
    "is_retired": "(d.retired_at is not null) = %(is_retired)s",
}
_ONE = _COLUMNS + "where d.id = %(id)s"
_LOCKED = _ONE + " for update of d"
_EDITABLE: tuple[LiteralString, ...] = ("title", "description", "category", "tags", "language")
_UPDATE = "update public.documents set "
_FILE = """
select d.company_id, d.original_filename as filename, d.file_type, d.file_url
from public.documents d
where d.id = %s
"""
_CHUNKS = Listing(
    select="""
select c.id, c.chunk_index as position, c.content, c.character_count, c.page_number,
  c.section_title, c.match_count, c.last_matched_at
from public.document_chunks c
""".strip(),
    sorts={"position": Sort("c.chunk_index", "integer", "position")},
    id="c.id",
)
_ASKED = Listing(
    select="""
select q.id, q.conversation_id, q.query_text as query, q.results_count,
  q.top_similarity_score::double precision as top_similarity,
  q.confidence::double precision as confidence, q.processing_time_ms as took_ms, q.created_at
from public.knowledge_queries q
""".strip(),
    sorts={"created_at": Sort("q.created_at", "timestamptz", "created_at")},
    id="q.id",
)
_BOT = "select true from public.chatbots b where b.id = %s and b.retired_at is null"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A document's file: its place in the store and its name."""

    company_id: UUID
    filename: str
    file_type: str
    file_url: str


async def list_documents(
    connection: Connection, query: DocumentQuery
) -> tuple[list[DocumentOut], str | None]:
    """Return a page of the company's documents."""
    given = query.model_dump(exclude_none=True, include=set(_FILTERS))
    conditions = [_FILTERS[name] for name in given]
    return await fetch_page(connection, DocumentOut, _LISTING, query, query.sort, conditions, given)


async def get_document(
    connection: Connection, document_id: UUID, *, locked: bool = False
) -> DocumentOut | None:
    """Return a document, retired or not; None for an unknown id.

    ``locked`` locks the row until the transaction ends.
    """
    return await fetch_one(
        connection, DocumentOut, _LOCKED if locked else _ONE, {"id": document_id}
    )


async def update_document(
    connection: Connection, document_id: UUID, changes: Mapping[str, Any]
) -> None:
    """Change the given columns of a document."""
    statement = _UPDATE + set_clause(_EDITABLE, changes) + " where id = %(id)s"
    await connection.execute(statement, {**changes, "id": document_id})


async def get_file(connection: Connection, document_id: UUID) -> StoredFile | None:
    """Return the file of a document; None for an unknown id."""
    return await fetch_one(connection, StoredFile, _FILE, (document_id,))


async def list_chunks(
    connection: Connection, document_id: UUID, query: ChunkQuery
) -> tuple[list[ChunkOut], str | None]:
    """Return a page of a document's passages, in reading order."""
    return await fetch_page(
        connection,
        ChunkOut,
        _CHUNKS,
        query,
        "position",
        ["c.document_id = %(document_id)s"],
        {"document_id": document_id},
    )


async def list_asked(
    connection: Connection, query: KnowledgeQueriesQuery
) -> tuple[list[KnowledgeQueryOut], str | None]:
    """Return a page of the questions for which the company's bots searched."""
    conditions: list[LiteralString] = []
    if query.answered is not None:
        conditions.append("(q.results_count > 0) = %(answered)s")
    return await fetch_page(
        connection,
        KnowledgeQueryOut,
        _ASKED,
        query,
        query.sort,
        conditions,
        {"answered": query.answered},
    )


async def bot_exists(connection: Connection, chatbot_id: UUID) -> bool:
    """Return whether the reader can see this bot and it is not retired."""
    return bool(await fetch_value(connection, _BOT, (chatbot_id,)))
