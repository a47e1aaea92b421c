"""Searching the documents of one company: ids and scores from the database, texts under RLS."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from uuid import UUID

from neurant.core.db.pool import Connection, Pool, fetch_all, must_hold_nothing, too_many_wait
from neurant.core.db.tenancy import Staff, Worker, tenant
from neurant.core.fair import FairGate, QueueFullError, each_loop
from neurant.knowledge.embed import MODEL, embed_query
from neurant.knowledge.rank import Candidate, Ranked, fuse

_CANDIDATES = 20

# Embedding is numpy in C: it leaves the event loop free in a thread of its own, and one thread a
# core is all that helps.
_THREADS = 2
_threads = ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="embed-query")
# A company alone may use all of them; where several ask, they take turns.
_turns = each_loop(lambda: FairGate(_THREADS, _THREADS))
_MOST_WAITING = 100  # questions of one company: a second or two of work

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


async def search(
    pool: Pool, principal: Staff | Worker, chatbot_id: UUID, question: str
) -> list[Ranked]:
    """The passages nearest to the question that the bot may use, best first."""
    vector = await embedded(principal.company_id, question)
    async with tenant(pool, principal) as connection:
        return await search_within(connection, chatbot_id, question, vector)


async def embedded(company_id: UUID, question: str) -> list[float]:
    """The question as a vector, when it is the company's turn; nobody holds a connection meanwhile.

    Raises RateLimitedError where too many questions of the company wait already.
    """
    must_hold_nothing("a thread that embeds")
    loop = asyncio.get_running_loop()
    try:
        async with _turns().slot(company_id, waiting=_MOST_WAITING):
            return await loop.run_in_executor(_threads, embed_query, question)
    except QueueFullError:
        raise too_many_wait(company_id) from None


async def search_within(
    connection: Connection, chatbot_id: UUID, question: str, vector: list[float]
) -> list[Ranked]:
    """The same in the caller's transaction, for a question that is embedded already."""
    words = (chatbot_id, question, None, MODEL, _CANDIDATES)
    found = {one.chunk_id: one for one in await fetch_all(connection, Candidate, _SEARCH, words)}
    meaning = (chatbot_id, "", vector_text(vector), MODEL, _CANDIDATES)
    for one in await fetch_all(connection, Candidate, _SEARCH, meaning):
        known = found.get(one.chunk_id)
        found[one.chunk_id] = replace(one, lexical=known.lexical) if known else one
    return fuse(list(found.values()))


def vector_text(embedding: list[float]) -> str:
    """pgvector's text form of a vector."""
    return "[" + ",".join(map(repr, embedding)) + "]"
