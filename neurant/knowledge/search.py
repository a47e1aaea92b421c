"""The search in one company's documents: ids and scores from a definer, texts under RLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

from neurant.core.db.pool import Connection, fetch_all, must_hold_nothing, too_many_wait
from neurant.core.fair import FairGate, QueueFullError, Usage, each_loop, step_back
from neurant.knowledge import embed, spelling
from neurant.knowledge.embed import MAX_QUERY_CHARS, MODEL, embed_query
from neurant.knowledge.rank import Candidate, Found, fuse
from neurant.knowledge.repair import Repaired, repair
from neurant.knowledge.spelling import Vocabulary
from neurant.knowledge.words import condensed

_CANDIDATES = 20

_MAX_SEARCHED = 400  # characters; each word costs one index look-up

# Embedding is native code that releases the GIL: a thread keeps the event loop free, and more
# threads than cores do not help.
_THREADS = 2
_MAX_WAITING = 100  # questions of one company; that is a second or two of work
# Priorities (nice): first the event loop, then the customers' questions, then everything else.
_PROMPT_NICE, _PATIENT_NICE = 5, 15


class _Lane:
    """Threads of one priority, for which the companies take turns.

    A company has ``share`` of them at most.
    """

    def __init__(self, name: str, nice: int, share: int) -> None:
        self._threads = ThreadPoolExecutor(
            _THREADS, thread_name_prefix=name, initializer=partial(step_back, nice)
        )
        self._turns = each_loop(lambda: FairGate(_THREADS, share))

    @asynccontextmanager
    async def turn(self, company_id: UUID) -> AsyncIterator[ThreadPoolExecutor]:
        async with self._turns().slot(company_id, waiting=_MAX_WAITING):
            yield self._threads


_prompt = _Lane("embed-query", _PROMPT_NICE, _THREADS)
_patient = _Lane("embed-query-patient", _PATIENT_NICE, 1)
_usage = each_loop(Usage)  # counted in embedded characters
_QUESTION_COST = 10  # characters, in addition to the question's own
_SHORT = 120  # characters; that is two sentences, or 90 ms

# The limit forces a look-up of each passage by its key; a plain join reads all of the company's
# passages.
_SEARCH = """
select p.*, s.similarity, s.lexical
from private.search_chunks(%s, %s, %s::extensions.vector, %s, %s) s
cross join lateral (
  select c.id as chunk_id, c.document_id, coalesce(d.title, d.original_filename) as document,
    c.page_number, c.section_title, c.content, coalesce(c.context_before, '') as context_before,
    coalesce(c.context_after, '') as context_after
  from public.document_chunks c
  join public.documents d on d.company_id = c.company_id and d.id = c.document_id
  where c.company_id = (select private.company_id()) and c.id = s.chunk_id
  limit 1
) p
"""


def warm() -> None:
    """Load the model and the dictionaries now (0.7 s), so that the first question does not wait."""
    embed.warm()
    spelling.warm()


@dataclass(frozen=True, slots=True)
class Prepared:
    """A question with its words repaired, and its vector."""

    repaired: Repaired
    vector: list[float]


async def prepared(
    company_id: UUID, question: str, vocabulary: Vocabulary, *, of_customer: bool = False
) -> Prepared:
    """Return the question with its words repaired and as a vector, when it is the company's turn.

    The caller must hold no connection. A short question ``of_customer`` goes first. A long
    question, a question of a company that asks more than its share, and a search or a trial of the
    staff get a thread of low priority, of which a company uses one at a time. Raises
    RateLimitedError where too many questions of the company wait already.
    """

    def work() -> Prepared:
        repaired = repair(question, vocabulary)
        return Prepared(repaired, embed_query(repaired.text))

    must_hold_nothing("a thread that embeds")
    loop, usage = asyncio.get_running_loop(), _usage()
    usage.add(company_id, _QUESTION_COST + min(len(question), MAX_QUERY_CHARS))
    try:
        if of_customer and len(question) <= _SHORT and not usage.is_heavy(company_id):
            async with _prompt.turn(company_id) as threads:
                if not usage.is_heavy(company_id):  # this may have changed during the wait
                    return await loop.run_in_executor(threads, work)
        async with _patient.turn(company_id) as threads:
            return await loop.run_in_executor(threads, work)
    except QueueFullError:
        raise too_many_wait(company_id) from None


async def search_within(connection: Connection, chatbot_id: UUID, asked: Prepared) -> Found:
    """Search with a prepared question in the caller's transaction; the passages, best first."""
    question, vector = asked.repaired.text, asked.vector
    words = (chatbot_id, condensed(question, _MAX_SEARCHED), None, MODEL, _CANDIDATES)
    found = {one.chunk_id: one for one in await fetch_all(connection, Candidate, _SEARCH, words)}
    meaning = (chatbot_id, "", vector_text(vector), MODEL, _CANDIDATES)
    for one in await fetch_all(connection, Candidate, _SEARCH, meaning):
        known = found.get(one.chunk_id)
        found[one.chunk_id] = replace(one, lexical=known.lexical) if known else one
    return Found(tuple(fuse(list(found.values()))), question, asked.repaired.words)


def vector_text(embedding: list[float]) -> str:
    """Return pgvector's text form of a vector."""
    return "[" + ",".join(map(repr, embedding)) + "]"
