"""How many streams visitors hold open, over all web processes.

The database counts them for each process, which says every few seconds that it lives. Streams of a
process that died are not counted after a minute; those of one that ends are closed at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID, uuid4

import psycopg
from psycopg_pool import PoolTimeout

from neurant.channels.webchat.limits import Doing, Held, refuse
from neurant.core.db.pool import DatabaseDown, Pool, fetch_one, fetch_value
from neurant.core.errors import UnauthenticatedError
from neurant.core.logs import get_logger
from neurant.core.turns import Turns

_HEARTBEAT = 15.0  # seconds; the database waits for 60
_OPEN = """
select outcome, held_by, wait_seconds, held_for, company_id, keys
from private.open_visitor_stream(%s, %s, %s, %s, %s)
"""
_CLOSE = "select private.close_visitor_streams(%s, %s::bytea[], %s::integer[])"
_KEEP = "select private.keep_visitor_process(%s, %s::bytea[], %s::integer[])"
_END = "select private.end_visitor_process(%s)"

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Counted:
    outcome: str
    held_by: str | None
    wait_seconds: float
    held_for: float
    company_id: UUID | None
    keys: list[bytes] | None


@dataclass(frozen=True, slots=True)
class Lease:
    """A stream that was counted: its company, and what to give back when it ends."""

    company_id: UUID
    keys: tuple[bytes, ...]


class OpenStreams:
    """The streams of this process. ``pool`` and ``turns`` as in VisitorLimits."""

    def __init__(self, pool: Pool, turns: Turns) -> None:
        self._pool = pool
        self._turns = turns
        self._process = uuid4()
        self._open: Counter[bytes] = Counter()
        self._closed: Counter[bytes] = Counter()
        self._something = asyncio.Event()
        self._held = Held()

    async def open(self, doing: Doing) -> Lease:
        """Count a stream. Raises RateLimitedError, UnauthenticatedError (no such session)."""
        if (wait := self._held.wait("listen", doing)) > 0:
            refuse("listen", wait)
        # Shielded: a browser that leaves now must not leave a stream that nobody gives back.
        counting = asyncio.ensure_future(self._count(doing))
        try:
            return await asyncio.shield(counting)
        except asyncio.CancelledError:
            counting.add_done_callback(self._give_back)
            raise

    async def _count(self, doing: Doing) -> Lease:
        place = doing.place
        parameters = (
            *(self._process, doing.routing_id, doing.token_digest),
            *(place.address, place.network),
        )
        async with self._turns.of(doing.routing_id), self._pool.connection() as connection:
            done = await fetch_one(connection, _Counted, _OPEN, parameters)
        assert done is not None  # noqa: S101 - the function answers with one row
        if done.outcome == "wait":
            self._held.remember("listen", doing, done.held_by, done.held_for)
            refuse("listen", done.wait_seconds)
        if done.company_id is None:
            raise UnauthenticatedError("visitor_session_expired")
        lease = Lease(done.company_id, tuple(done.keys or ()))
        self._open.update(lease.keys)
        return lease

    def _give_back(self, counting: asyncio.Future[Lease]) -> None:
        if not counting.cancelled() and counting.exception() is None:
            self.close(counting.result())

    def close(self, lease: Lease) -> None:
        """The stream has ended; the database hears of it in a moment."""
        self._open.subtract(lease.keys)
        self._closed.update(lease.keys)
        self._something.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[OpenStreams]:
        """Give back and say that we live, for as long as the block lasts."""
        tasks = [asyncio.create_task(self._return_forever()), asyncio.create_task(self._beat())]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(*DatabaseDown, PoolTimeout):
                await self._ask(_END, self._process)

    async def _return_forever(self) -> None:
        while True:
            await self._something.wait()
            self._something.clear()
            closed, self._closed = self._closed, Counter()
            try:
                await self._ask(_CLOSE, self._process, list(closed), list(closed.values()))
            except (psycopg.Error, PoolTimeout) as error:
                log.warning("streams_not_given_back", error=type(error).__name__)
                self._closed.update(closed)
                await asyncio.sleep(1)
                self._something.set()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT)
            self._open = +self._open  # without what is at zero
            try:
                if not await self._ask(_KEEP, self._process, None, None) and self._open:
                    counts = list(self._open.values())
                    await self._ask(_KEEP, self._process, list(self._open), counts)
            except (psycopg.Error, PoolTimeout) as error:
                log.warning("streams_not_kept", error=type(error).__name__)

    async def _ask(self, query: LiteralString, *parameters: object) -> object:
        async with self._pool.connection() as connection:
            return await fetch_value(connection, query, parameters)
