"""The SQL of the knowledge page, which runs under the reader's policies."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from neurant.core.db.pool import Connection, fetch_all, fetch_value
from neurant.knowledge.service import PROCESS_TASK

_DOCUMENTS = """
select d.id, d.chatbot_id, d.original_filename as name, d.file_type as type,
  d.file_size_bytes as size, d.chunk_count as chunks, d.processing_status::text as status,
  d.processing_progress as progress, d.processing_error as error, d.unread_pages, d.created_at,
  (select b.name from public.chatbots b
    where b.company_id = d.company_id and b.id = d.chatbot_id) as bot_name,
  private.operator_name(d.uploaded_by) as uploader, d.category, coalesce(d.tags, '{}') as tags,
  d.language
from public.documents d
where d.retired_at is null and (%(chatbot)s::uuid is null or d.chatbot_id = %(chatbot)s)
  and (%(words)s = '' or d.id in (select s.document_id from private.search_documents(%(words)s) s)
    or d.chatbot_id in (select s.chatbot_id from private.search_chatbots(%(words)s) s))
order by d.created_at desc, d.id desc
"""
_BOTS = "select b.id, b.name from public.chatbots b where b.retired_at is null order by b.name"
_RETIRE = """
update public.documents set retired_at = now()
where id = %s and retired_at is null
returning true
"""
_RETRY = """
select private.defer_job(%s, jsonb_build_object('document_id', d.id))
from public.documents d
where d.id = %s and d.processing_status = 'failed' and d.retired_at is null
  and (select private.company_id('documents.edit')) is not null
"""


@dataclass(frozen=True, slots=True)
class ListedDocument:
    """A document that is in use or is being read."""

    id: UUID
    chatbot_id: UUID | None
    name: str
    type: str
    size: int
    chunks: int | None
    status: str
    progress: int
    error: str | None
    unread_pages: list[int]
    created_at: datetime
    bot_name: str | None
    uploader: str | None
    category: str | None
    tags: list[str]
    language: str | None


@dataclass(frozen=True, slots=True)
class Bot:
    """A bot to which a document can belong."""

    id: UUID
    name: str


async def list_documents(
    connection: Connection, chatbot_id: UUID | None = None, words: str = ""
) -> list[ListedDocument]:
    """Return the documents, newest first, of one bot or of all bots that the reader sees.

    ``words`` keeps those whose title, description, file name or bot contains them; the last word
    may be incomplete.
    """
    parameters = {"chatbot": chatbot_id, "words": words}
    return await fetch_all(connection, ListedDocument, _DOCUMENTS, parameters)


async def list_bots(connection: Connection) -> list[Bot]:
    """Return the reader's bots by name."""
    return await fetch_all(connection, Bot, _BOTS)


async def retire_document(connection: Connection, document_id: UUID) -> bool:
    """Retire a document. Returns False if the reader may retire no such document."""
    return bool(await fetch_value(connection, _RETIRE, (document_id,)))


async def retry_document(connection: Connection, document_id: UUID) -> bool:
    """Queue a failed document again. Returns False if the reader may retry no such document."""
    return bool(await fetch_value(connection, _RETRY, (PROCESS_TASK, document_id)))
