"""Searching the documents of one company: ids and scores from the database, texts under RLS."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from neurant.database.pool import Connection, Pool, fetch_all
from neurant.database.tenancy import Principal, tenant
from neurant.knowledge.embed import MODEL, embed_query
from neurant.knowledge.rank import Candidate, Ranked, fuse

_CANDIDATES = 20

# Embedding is numpy in C: it leaves the event loop free in a thread of its own, and one thread a
# core is all that helps.
_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="embed-query")

_SEARCH = """
select c.id as chunk_id, c.document_id, coalesce(d.title, d.original_filename) as document,
  c.page_number, c.section_title, c.content, s.similarity, s.lexical
from private.search_chunks(%s, %s, %s::extensions.vector, %s, %s) s
join public.document_chunks c on c.id = s.chunk_id and c.company_id = (select private.company_id())
join public.documents d on d.company_id = c.company_id and d.id = c.document_id
"""


async def search(pool: Pool, principal: Principal, chatbot_id: UUID, question: str) -> list[Ranked]:
    """The passages nearest to the question that the bot may use, best first."""
    parameters = await _parameters(chatbot_id, question)
    async with tenant(pool, principal) as connection:
        return fuse(await fetch_all(connection, Candidate, _SEARCH, parameters))


async def search_within(connection: Connection, chatbot_id: UUID, question: str) -> list[Ranked]:
    """The same in the caller's transaction."""
    parameters = await _parameters(chatbot_id, question)
    return fuse(await fetch_all(connection, Candidate, _SEARCH, parameters))


async def _parameters(chatbot_id: UUID, question: str) -> tuple[object, ...]:
    loop = asyncio.get_running_loop()
    embedding = await loop.run_in_executor(_threads, embed_query, question)
    return chatbot_id, question, vector_text(embedding), MODEL, _CANDIDATES


def vector_text(embedding: list[float]) -> str:
    """pgvector's text form of a vector."""
    return "[" + ",".join(map(repr, embedding)) + "]"
