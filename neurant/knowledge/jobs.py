"""Processing a document in the worker: read, divide, embed, and replace its passages in one commit.

A confined child (``reader``) reads and divides the document; this process never parses it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from obstore.store import ObjectStore

from neurant.core.db.pool import Pool, fetch_one
from neurant.core.db.tenancy import Worker, tenant
from neurant.core.errors import NeurantError
from neurant.core.fair import step_back
from neurant.core.logs import get_logger
from neurant.core.object_store import read_file
from neurant.knowledge.chunk import Chunk
from neurant.knowledge.embed import MODEL, embed_passage
from neurant.knowledge.extract import Extracted
from neurant.knowledge.reader import read_document
from neurant.knowledge.search import vector_text
from neurant.knowledge.spelling import words_of
from neurant.plans.limits import within_limits

_NICE = 19  # the lowest priority: all questions come before documents
_threads = ThreadPoolExecutor(
    2, thread_name_prefix="embed-document", initializer=partial(step_back, _NICE)
)
_PROGRESS_EVERY = 8  # chunks
_READ_SHARE = 5  # percent of the progress that is shown once the file was read

_LOAD = """
select original_filename, file_url from public.documents where id = %s and retired_at is null
"""
_UNFINISHED = """
select original_filename, file_url from public.documents
where id = %s and retired_at is null and processing_status in ('pending', 'processing')
"""
_PROGRESS = """
update public.documents
set processing_status = 'processing', processing_progress = %s, processing_error = null
where id = %s
"""
# The plan counts the characters before the embedding, so that a document without room in the
# plan costs no embedding.
_RESERVE = """
update public.documents set character_count = %s where id = %s
"""
_FAILED = """
update public.documents
set processing_status = 'failed', processing_error = %s, character_count = null
where id = %s
"""
_COMPLETED = """
update public.documents
set processing_status = 'completed', processing_progress = 100, processing_error = null,
  extracted_text = %s, words = %s, character_count = %s, chunk_count = %s,
  title = coalesce(title, %s), unread_pages = %s
where id = %s
"""
_INSERT_CHUNK = """
insert into public.document_chunks (company_id, document_id, content, chunk_index, character_count,
  embedding, embedding_model, page_number, section_title, context_before, context_after)
values (%s, %s, %s, %s, char_length(%s), %s::extensions.vector, %s, %s, %s, %s, %s)
"""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _File:
    original_filename: str
    file_url: str


async def process_document(
    pool: Pool, store: ObjectStore, company_id: UUID, document_id: UUID
) -> None:
    """Make a document searchable, or store in its row why that is not possible."""
    worker = Worker(company_id)
    async with tenant(pool, worker) as connection:
        file = await fetch_one(connection, _File, _LOAD, (document_id,))
        if file is None:
            return  # it was retired meanwhile
        await connection.execute(_PROGRESS, (0, document_id))
    try:
        data = await read_file(store, file.file_url)
    except FileNotFoundError:
        await _fail(pool, worker, document_id, "document_file_missing", {})
        return
    try:
        extracted, chunks = await read_document(data, file.original_filename)
        full = "\n\n".join(page.text for page in extracted.pages)
        async with within_limits(pool, worker) as connection:
            await connection.execute(_RESERVE, (len(full), document_id))
        vectors = await _embed(pool, worker, document_id, chunks)
        await _store(pool, worker, document_id, extracted, full, chunks, vectors)
    except NeurantError as error:
        await _fail(pool, worker, document_id, error.code, error.params)
    log.info("document_processed", document=str(document_id))


async def give_up_document(pool: Pool, company_id: UUID, document_id: UUID, code: str) -> None:
    """Mark a document as failed with the error ``code``.

    Nothing changes if it was retired or is already read.
    """
    worker = Worker(company_id)
    async with tenant(pool, worker) as connection:
        file = await fetch_one(connection, _File, _UNFINISHED, (document_id,))
    if file is not None:
        await _fail(pool, worker, document_id, code, {"filename": file.original_filename})
        log.warning("document_given_up", document=str(document_id), code=code)


async def _embed(
    pool: Pool, worker: Worker, document_id: UUID, chunks: Sequence[Chunk]
) -> list[list[float]]:
    loop = asyncio.get_running_loop()
    vectors: list[list[float]] = []
    for start in range(0, len(chunks), _PROGRESS_EVERY):
        done = _READ_SHARE + (99 - _READ_SHARE) * start // len(chunks)
        async with tenant(pool, worker) as connection:
            await connection.execute(_PROGRESS, (done, document_id))
        texts = [one.embedding_text() for one in chunks[start : start + _PROGRESS_EVERY]]
        futures = [loop.run_in_executor(_threads, embed_passage, text) for text in texts]
        vectors += await asyncio.gather(*futures)
    return vectors


async def _store(
    pool: Pool,
    worker: Worker,
    document_id: UUID,
    extracted: Extracted,
    full: str,
    chunks: Sequence[Chunk],
    vectors: Sequence[list[float]],
) -> None:
    rows = [
        (
            worker.company_id,
            document_id,
            one.content,
            one.index,
            one.content,
            vector_text(vector),
            MODEL,
            one.page_number,
            one.section_title,
            one.context_before,
            one.context_after,
        )
        for one, vector in zip(chunks, vectors, strict=True)
    ]
    async with tenant(pool, worker) as connection:
        await connection.execute(
            "delete from public.document_chunks where document_id = %s", (document_id,)
        )
        await connection.cursor().executemany(_INSERT_CHUNK, rows)
        await connection.execute(
            _COMPLETED,
            (
                full,
                words_of(full),
                len(full),
                len(chunks),
                extracted.title,
                extracted.pages_without_text(),
                document_id,
            ),
        )


async def _fail(
    pool: Pool, worker: Worker, document_id: UUID, code: str, params: dict[str, object]
) -> None:
    error = json.dumps({"code": code, "params": params}, ensure_ascii=False, default=str)
    async with tenant(pool, worker) as connection:
        await connection.execute(_FAILED, (error, document_id))
