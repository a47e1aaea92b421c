"""The number of streams that visitors hold open, over all web processes.

The database counts the streams of each process, which sends a heartbeat every 15 seconds. The
streams of a process that died are no longer counted after a minute; those of a process that ends
are closed at once.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Literal, LiteralString
from uuid import UUID, uuid4

import psycopg
from psycopg_pool import PoolTimeout

from neurant.channels.webchat.limits import Doing, Held, refuse
from neurant.core.db.pool import DatabaseDown, Pool, fetch_one, fetch_value
from neurant.core.errors import UnauthenticatedError
from neurant.core.logs import get_logger
from neurant.core.turns import Turns

_HEARTBEAT = 15.0  # seconds; the database drops a process after 60 without one
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
    outcome: Literal["opened", "wait", "proof", "unknown", "share", "full"]
    held_by: str | None
    wait_seconds: float
    held_for: float
    company_id: UUID | None
    keys: list[bytes] | None


@dataclass(frozen=True, slots=True)
class Lease:
    """A counted stream: its company, and the keys to release when it ends."""

    company_id: UUID
    keys: tuple[bytes, ...]


class OpenStreams:
    """The open streams of this process. ``pool`` and ``turns`` are those of VisitorLimits."""

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
        # Shielded: if the browser leaves now, the stream that was counted must still be released.
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
        """Release a stream that has ended; the database is informed in the background."""
        self._open.subtract(lease.keys)
        self._closed.update(lease.keys)
        self._something.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[OpenStreams]:
        """Release streams and send heartbeats for as long as the block lasts."""
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
            self._open = +self._open  # drops the keys whose count is zero
            try:
                if not await self._ask(_KEEP, self._process, None, None) and self._open:
                    counts = list(self._open.values())
                    await self._ask(_KEEP, self._process, list(self._open), counts)
            except (psycopg.Error, PoolTimeout) as error:
                log.warning("streams_not_kept", error=type(error).__name__)

    async def _ask(self, query: LiteralString, *parameters: object) -> object:
        async with self._pool.connection() as connection:
            return await fetch_value(connection, query, parameters)
