"""Searching the documents of one company: ids and scores from the database, texts under RLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from uuid import UUID

from neurant.core.db.pool import Connection, Pool, fetch_all, must_hold_nothing, too_many_wait
from neurant.core.db.tenancy import Staff, Worker, tenant
from neurant.core.fair import FairGate, QueueFullError, Usage, each_loop, step_back
from neurant.knowledge.embed import MAX_QUERY_CHARS, MODEL, embed_query
from neurant.knowledge.rank import Candidate, Ranked, fuse
from neurant.knowledge.words import condensed

_CANDIDATES = 20

_MOST_SEARCHED = 400  # characters; each word is one more look into the index

# Embedding is numpy in C: it leaves the event loop free in a thread of its own, and one thread a
# core is all that helps.
_THREADS = 2
_MOST_WAITING = 100  # questions of one company: a second or two of work
# Priorities (nice): the event loop goes first, then what customers asked, then everything else.
_PROMPT_NICE, _PATIENT_NICE = 5, 15


class _Lane:
    """Threads of one priority, for which the companies take turns; one has ``share`` at most."""

    def __init__(self, name: str, nice: int, share: int) -> None:
        self._threads = ThreadPoolExecutor(
            _THREADS, thread_name_prefix=name, initializer=partial(step_back, nice)
        )
        self._turns = each_loop(lambda: FairGate(_THREADS, share))

    @asynccontextmanager
    async def turn(self, company_id: UUID) -> AsyncIterator[ThreadPoolExecutor]:
        async with self._turns().slot(company_id, waiting=_MOST_WAITING):
            yield self._threads


_prompt = _Lane("embed-query", _PROMPT_NICE, _THREADS)
_patient = _Lane("embed-query-patient", _PATIENT_NICE, 1)
_usage = each_loop(Usage)  # in characters that were embedded
_QUESTION_COST = 10  # characters, besides its own
_SHORT = 120  # characters: two sentences, or 90 ms

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
    vector = await embedded(principal.company_id, question, of_customer=True)
    async with tenant(pool, principal) as connection:
        return await search_within(connection, chatbot_id, question, vector)


async def embedded(company_id: UUID, question: str, *, of_customer: bool = False) -> list[float]:
    """The question as a vector, when it is the company's turn; nobody holds a connection meanwhile.

    A short question ``of_customer`` goes first. A long one, one of a company that asks more than
    its part, and a search or a trial of the staff get a thread of low priority, one a company.
    Raises RateLimitedError where too many questions of the company wait already.
    """
    must_hold_nothing("a thread that embeds")
    loop, usage = asyncio.get_running_loop(), _usage()
    usage.add(company_id, _QUESTION_COST + min(len(question), MAX_QUERY_CHARS))
    try:
        if of_customer and len(question) <= _SHORT and not usage.is_heavy(company_id):
            async with _prompt.turn(company_id) as threads:
                if not usage.is_heavy(company_id):  # it may have become so while it waited
                    return await loop.run_in_executor(threads, embed_query, question)
        async with _patient.turn(company_id) as threads:
            return await loop.run_in_executor(threads, embed_query, question)
    except QueueFullError:
        raise too_many_wait(company_id) from None


async def search_within(
    connection: Connection, chatbot_id: UUID, question: str, vector: list[float]
) -> list[Ranked]:
    """The same in the caller's transaction, for a question that is embedded already."""
    words = (chatbot_id, condensed(question, _MOST_SEARCHED), None, MODEL, _CANDIDATES)
    found = {one.chunk_id: one for one in await fetch_all(connection, Candidate, _SEARCH, words)}
    meaning = (chatbot_id, "", vector_text(vector), MODEL, _CANDIDATES)
    for one in await fetch_all(connection, Candidate, _SEARCH, meaning):
        known = found.get(one.chunk_id)
        found[one.chunk_id] = replace(one, lexical=known.lexical) if known else one
    return fuse(list(found.values()))


def vector_text(embedding: list[float]) -> str:
    """pgvector's text form of a vector."""
    return "[" + ",".join(map(repr, embedding)) + "]"
