"""The command ``neurant knowledge add``, which adds a local file to a bot's documents."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from neurant.cli.company_lookup import database_urls, find_bot
from neurant.core.db.pool import Pool, command_pool, fetch_one
from neurant.core.db.tenancy import Staff, tenant
from neurant.core.errors import SetupError
from neurant.core.object_store import open_store
from neurant.core.settings import Settings
from neurant.knowledge.service import document_error, store_document
from neurant.texts import Language, text

_POLL = 0.3
_PATIENCE = 100  # consecutive polls in which no worker has started the document
_STATE = """
select d.processing_status::text as status, d.processing_progress as progress,
  d.processing_error as error, d.chunk_count, d.unread_pages
from public.documents d
where d.id = %s
"""


@dataclass(frozen=True, slots=True)
class DocumentState:
    """The progress of the worker with a document."""

    status: str
    progress: int
    error: str | None
    chunk_count: int | None
    unread_pages: list[int]


@dataclass(frozen=True, slots=True)
class AddedDocument:
    """A document whose passages are searchable."""

    id: UUID
    chunks: int
    unread_pages: list[int]


async def add_document(
    settings: Settings,
    path: Path,
    bot: str,
    company: str | None,
    on_progress: Callable[[str], None],
    language: Language = "es",
) -> AddedDocument:
    """Add the file and wait until it is searchable. Raises NeurantError."""
    data = await asyncio.to_thread(_read, path)
    urls = database_urls(settings)
    staff, bot_id = await find_bot(urls.admin, bot, company)
    async with command_pool(urls.app) as pool:
        document_id = await store_document(
            pool, open_store(settings), settings, staff, bot_id, path.name, data
        )
        return await _wait(pool, staff, document_id, on_progress, language)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SetupError("file_unreadable", path=path, reason=error.strerror) from None


async def _wait(
    pool: Pool,
    staff: Staff,
    document_id: UUID,
    on_progress: Callable[[str], None],
    language: Language,
) -> AddedDocument:
    patience = _PATIENCE
    while True:
        async with tenant(pool, staff) as connection:
            state = await fetch_one(connection, DocumentState, _STATE, (document_id,))
        if state is None:
            raise SetupError("document_file_missing")
        if state.status == "completed":
            return AddedDocument(document_id, state.chunk_count or 0, state.unread_pages)
        if state.status == "failed":
            raise SetupError("document_failed", reason=document_error(state.error, language))
        patience = patience - 1 if state.status == "pending" else _PATIENCE
        if patience < 0:
            raise SetupError("document_waits")
        on_progress(text(f"knowledge.status_{state.status}", language, progress=state.progress))
        await asyncio.sleep(_POLL)
