"""Group commit of inbound messages: messages that arrive together are stored in one commit.

Every caller's future resolves after that commit. If the database refuses a row, the rows of its
batch are stored one by one, so that only that row fails. While the database is unavailable, no
caller receives "stored".
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import psycopg
from psycopg import errors as pg
from psycopg_pool import PoolTimeout

from neurant.channels.events import InboundMessage, Ingested
from neurant.core.db.pool import PLATFORM, DatabaseDown, Pool, fetch_all, fetch_value, sharing
from neurant.core.errors import UnavailableError
from neurant.core.logs import get_logger
from neurant.core.realtime import Hub

_INGEST = """
select outcome, company_id, conversation_id, message_id, seq
from private.ingest(%s::text[], %s::text[], %s::bytea[], %s::text[], %s::text[], %s::text[],
  %s::text[], %s::text[], %s::text[])
order by ord
"""
_MAX_PER_BATCH = 256
_FLUSHERS = 2
_RACE_TRIES = 3

# Two batches wrote to one conversation or one message: the next try sees the other one's rows.
_RACES = (pg.UniqueViolation, pg.DeadlockDetected, pg.SerializationFailure)

log = get_logger(__name__)


class RejectedMessageError(Exception):
    """The database refuses this message for good, for the reason in the text."""


Waiting = tuple[InboundMessage, "asyncio.Future[Ingested]"]


class Ingestor:
    """The queue in front of the database, with its flushers."""

    def __init__(self, pool: Pool, hub: Hub) -> None:
        self._pool = pool
        self._hub = hub
        self._queue: list[Waiting] = []
        self._arrived = asyncio.Event()

    async def put(self, message: InboundMessage) -> Ingested:
        """Store a message and return after the commit.

        Raises RejectedMessageError for a row that the database refuses, UnavailableError when the
        database is unavailable.
        """
        done: asyncio.Future[Ingested] = asyncio.get_running_loop().create_future()
        self._queue.append((message, done))
        self._arrived.set()
        return await done

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Ingestor]:
        """Flush the queue for as long as the block lasts."""
        flushers = [asyncio.create_task(self._flush_forever()) for _ in range(_FLUSHERS)]
        try:
            yield self
        finally:
            for flusher in flushers:
                flusher.cancel()
            await asyncio.gather(*flushers, return_exceptions=True)
            waiting, self._queue = self._queue, []
            _fail(waiting, UnavailableError("stopping"))

    async def _flush_forever(self) -> None:
        while True:
            while not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
            batch, self._queue = fair_batch(self._queue, _MAX_PER_BATCH)
            try:
                await self._flush(batch)
            except Exception as error:
                log.exception("ingest_failed", messages=len(batch))
                _fail(batch, error)
            except asyncio.CancelledError:
                _fail(batch, UnavailableError("stopping"))
                raise

    async def _flush(self, batch: Sequence[Waiting]) -> None:
        try:
            stored = await self._store([message for message, _ in batch])
        except (*DatabaseDown, PoolTimeout) as error:
            log.warning("ingest_without_database", messages=len(batch), error=str(error))
            _fail(batch, UnavailableError("database_away"))
        except (psycopg.Error, UnicodeError) as error:  # UnicodeError: half a surrogate pair
            if len(batch) == 1:
                _fail(batch, RejectedMessageError(_reason(error)))
                return
            for one in batch:
                await self._flush([one])
        else:
            for (_, done), ingested in zip(batch, stored, strict=True):
                if not done.done():
                    done.set_result(ingested)
            self._announce([message for message, _ in batch], stored)

    async def _store(self, messages: Sequence[InboundMessage]) -> list[Ingested]:
        columns = (
            [m.routing_id for m in messages],
            [m.channel for m in messages],
            [m.credential for m in messages],
            [m.end_user_id for m in messages],
            [m.end_user_name for m in messages],
            [m.external_id for m in messages],
            [m.message_type for m in messages],
            [m.content for m in messages],
            [m.media_url for m in messages],
        )
        for attempt in range(1, _RACE_TRIES + 1):
            try:
                with sharing(PLATFORM):  # a batch holds messages of several companies
                    async with self._pool.connection() as connection:
                        return await fetch_all(connection, Ingested, _INGEST, columns)
            except _RACES:
                if attempt == _RACE_TRIES:
                    raise
        raise AssertionError("unreachable")

    def _announce(self, messages: Sequence[InboundMessage], stored: Sequence[Ingested]) -> None:
        for message, one in zip(messages, stored, strict=True):
            if one.outcome == "stored" and one.company_id and one.conversation_id:
                self._hub.announce(one.company_id, one.conversation_id)
                if one.seq == 1 and message.channel == "web":
                    # The visitor's stream does not know the new conversation's id.
                    self._hub.announce(one.company_id, visitor_key(message.credential))
                self._hub.announce_work()


def fair_batch(queue: list[Waiting], most: int) -> tuple[list[Waiting], list[Waiting]]:
    """Return the next batch and the rest: each account's first message before any second one.

    ``most`` is the maximum length of the batch. The messages of one account keep their order.
    """
    if len(queue) <= most:
        return queue, []
    seen: Counter[str] = Counter()
    turns = []
    for place, (message, _) in enumerate(queue):
        turns.append((seen[message.routing_id], place))
        seen[message.routing_id] += 1
    chosen = {place for _, place in sorted(turns)[:most]}
    batch = [one for place, one in enumerate(queue) if place in chosen]
    return batch, [one for place, one in enumerate(queue) if place not in chosen]


def visitor_key(token_digest: bytes) -> UUID:
    """Return the id under which a new conversation is announced to its visitor's stream."""
    return UUID(bytes=token_digest[:16])


def _reason(error: Exception) -> str:
    """Return why the database refused a row, without the row's text."""
    if isinstance(error, UnicodeError):
        return "text that is not Unicode"
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return f"{type(error).__name__}: {primary or error}"


def _fail(batch: Sequence[Waiting], error: Exception) -> None:
    for _, done in batch:
        if not done.done():
            done.set_exception(error)


async def set_aside(
    pool: Pool, routing_id: str, credential: bytes, external_id: str, payload: bytes, reason: str
) -> str:
    """Keep an event that is not a message as a dead letter, with its raw payload.

    Returns the outcome: ``set_aside``, ``refused`` (wrong credential) or ``unknown`` (no such
    account).
    """
    async with pool.connection() as connection:
        return str(
            await fetch_value(
                connection,
                "select private.set_aside_event(%s, %s, %s, %s, %s)",
                (routing_id, credential, external_id, payload, reason),
            )
        )
