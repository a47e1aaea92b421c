"""Searching the documents of one company: ids and scores from the database, texts under RLS."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID

from neurant.database.pool import Connection, Pool, fetch_all
from neurant.database.tenancy import Principal, tenant
from neurant.knowledge.embed import MODEL, embed_query
from neurant.knowledge.rank import Candidate, Ranked, fuse

_CANDIDATES = 20

# Embedding is numpy in C: it leaves the event loop free in a thread of its own, and one thread a
# core is all that helps.
_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="embed-query")

# Each passage by its key, which the limit forces: planned as a join, all of the company's are read.
_SEARCH = """
select p.*, s.similarity, s.lexical
from private.search_chunks(%s, %s, %s::extensions.vector, %s, %s) s
cross join lateral (
  select c.id as chunk_id, c.document_id, coalesce(d.title, d.original_filename) as document,
    c.page_number, c.section_title, c.content
  from public.document_chunks c
  join public.documents d on d.company_id = c.company_id and d.id = c.document_id
  where c.company_id = (select private.company_id()) and c.id = s.chunk_id
  limit 1
) p
"""


async def search(pool: Pool, principal: Principal, chatbot_id: UUID, question: str) -> list[Ranked]:
    """The passages nearest to the question that the bot may use, best first."""
    embedding = _embedded(question)
    await asyncio.wait((embedding,))  # before a connection is taken: the threads may have a queue
    async with tenant(pool, principal) as connection:
        return await _both(connection, chatbot_id, question, embedding)


async def search_within(connection: Connection, chatbot_id: UUID, question: str) -> list[Ranked]:
    """The same in the caller's transaction."""
    return await _both(connection, chatbot_id, question, _embedded(question))


def _embedded(question: str) -> asyncio.Future[list[float]]:
    return asyncio.get_running_loop().run_in_executor(_threads, embed_query, question)


async def _both(
    connection: Connection, chatbot_id: UUID, question: str, embedding: asyncio.Future[list[float]]
) -> list[Ranked]:
    """By words, while the question's vector is computed; then by meaning."""
    words = (chatbot_id, question, None, MODEL, _CANDIDATES)
    found = {one.chunk_id: one for one in await fetch_all(connection, Candidate, _SEARCH, words)}
    meaning = (chatbot_id, "", vector_text(await embedding), MODEL, _CANDIDATES)
    for one in await fetch_all(connection, Candidate, _SEARCH, meaning):
        known = found.get(one.chunk_id)
        found[one.chunk_id] = replace(one, lexical=known.lexical) if known else one
    return fuse(list(found.values()))


def vector_text(embedding: list[float]) -> str:
    """pgvector's text form of a vector."""
    return "[" + ",".join(map(repr, embedding)) + "]"
