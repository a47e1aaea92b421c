"""The connection pools of a process, and reading typed rows from them.

A connection is held for database work and for nothing else. Whoever holds one waits for no thread,
no network, no client and no second connection: ``must_hold_nothing`` stands where such waits begin,
and tests make it an error. The connections of a web process are shared fairly (``sharing``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, LiteralString, TypeVar
from uuid import UUID

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from neurant.core.clock import monotonic
from neurant.core.db.connection import WatchedConnection, patience, with_timeouts
from neurant.core.errors import (
    NeurantError,
    RateLimitedError,
    SetupError,
    UnavailableError,
    first_line,
)
from neurant.core.fair import FairGate, QueueFullError
from neurant.core.logs import get_logger

Connection = AsyncConnection[TupleRow]
Row = TypeVar("Row")
Params = Sequence[Any] | Mapping[str, Any]
_TRUSTED_SECONDS = 1.0  # after an answer a connection is not asked whether it lives
_CHECK_SECONDS = 1.5
_RECONNECT_SECONDS = 5.0  # then a new request begins anew, instead of ever longer pauses
ANYBODY = "anybody"  # requests of nobody known: logins, pages before the session is found
NEWCOMERS = "newcomers"  # credentials that this process has not seen yet
VISITORS = "visitors"
PLATFORM = "platform"  # what serves all companies at once: ingest, readiness
_WAIT_SECONDS = 10.0
_RETRY_SECONDS = 2
_MOST_WAITING = 200  # requests of one company: more than its people and programs have under way
_MOST_WAITING_OF_ALL = 2_000  # of those whom all companies share: a reconnection wakes every stream
log = get_logger(__name__)


class _Held:
    """A connection that a task holds."""

    __slots__ = ("is_open", "task")

    def __init__(self) -> None:
        self.task, self.is_open = asyncio.current_task(), True


_held: ContextVar[_Held | None] = ContextVar("held", default=None)
_sharer: ContextVar[Hashable] = ContextVar("sharer", default=ANYBODY)
is_strict = False
"""Tests set it: holding a connection while waiting for something else is then an error."""


def must_hold_nothing(waits_for: str) -> None:
    """Say that a wait for something other than the database begins.

    Logs ``connection_held_while_waiting`` where this task holds a connection; RuntimeError in
    tests. A defect costs speed then, not an answer.
    """
    held = _held.get()
    if held is None or not held.is_open or held.task is not asyncio.current_task():
        return
    if is_strict:
        raise RuntimeError(f"a connection is held while waiting for {waits_for}")
    log.error("connection_held_while_waiting", waits_for=waits_for, stack_info=True)


@contextmanager
def sharing(sharer: Hashable) -> Iterator[None]:
    """Connections that are taken in the block are of this sharer's share: a company's id, or one
    of the names above."""
    before = _sharer.get()
    _sharer.set(sharer)
    try:
        yield
    finally:
        _sharer.set(before)  # not by token: a generator may be closed in another context


class Pool(AsyncConnectionPool[Connection]):
    """A pool that knows who holds what. With ``is_shared``, one company has half of it at most."""

    def __init__(self, url: str, *, is_shared: bool, **options: Any) -> None:
        super().__init__(url, **options)
        share = max(1, self.max_size // 2)
        self._gate = FairGate(self.max_size, share) if is_shared else None

    @asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[Connection]:  # noqa: ASYNC109 - psycopg's own name
        """A connection for the time of the block, in the share of who asks.

        Raises RateLimitedError where too many of the same company wait already, or for too long
        (``timeout`` seconds, 10 without one); for others UnavailableError, and PoolTimeout.
        """
        must_hold_nothing("a second connection")
        if self._gate is None:
            async with self._marked(timeout) as connection:
                yield connection
            return
        sharer = _sharer.get()
        await self._wait_for_share(self._gate, sharer, timeout)
        try:
            async with self._marked(timeout) as connection:
                yield connection
        finally:
            self._gate.release(sharer)

    @asynccontextmanager
    async def _marked(self, timeout: float | None) -> AsyncIterator[Connection]:  # noqa: ASYNC109
        async with super().connection(timeout) as connection:
            before, held = _held.get(), _Held()
            _held.set(held)
            try:
                yield connection
            finally:
                held.is_open = False
                _held.set(before)

    async def _wait_for_share(
        self, gate: FairGate, sharer: Hashable, seconds: float | None
    ) -> None:
        try:
            most = _MOST_WAITING if isinstance(sharer, UUID) else _MOST_WAITING_OF_ALL
            await gate.acquire(sharer, seconds=seconds or _WAIT_SECONDS, waiting=most)
        except QueueFullError:
            raise too_many_wait(sharer) from None
        except TimeoutError:
            if isinstance(sharer, UUID):  # the database is there: its company has too much to do
                raise too_many_wait(sharer) from None
            raise PoolTimeout("no connection of this share came free in time") from None


def too_many_wait(sharer: Hashable) -> NeurantError:
    """The refusal of a request that would have to queue behind too many of its own company."""
    if isinstance(sharer, UUID):
        return RateLimitedError("api.company_busy", seconds=_RETRY_SECONDS)
    return UnavailableError("busy", seconds=_RETRY_SECONDS)


def make_pool(
    url: str, *, size: int, pooled: bool, is_shared: bool = False, least: int = 1
) -> Pool:
    """An unopened pool of autocommit connections to ``url``.

    Autocommit, because ``tenancy.tenant`` begins and commits by itself, in fewer round trips.
    ``pooled``: the URL leads through a transaction pooler, where a prepared statement of one
    transaction may be unknown to the next. ``is_shared``: companies use it side by side, and each
    gets its share. ``least``: connections that stay open while nobody needs them.

    A connection that has not answered for a second is asked before it is given out. One that does
    not answer was swallowed on the way, and most probably all were: every idle one is replaced.
    """
    pool: Pool = Pool(
        with_timeouts(url),
        is_shared=is_shared,
        connection_class=WatchedConnection,
        min_size=least,
        max_size=size,
        open=False,
        timeout=_WAIT_SECONDS,
        reconnect_timeout=_RECONNECT_SECONDS,
        kwargs={"autocommit": True, "prepare_threshold": None if pooled else 5},
        check=lambda connection: _check(pool, connection),
        name="neurant",
    )
    return pool


async def _check(pool: Pool, connection: Connection) -> None:
    """Ask a connection that has been idle. Raises psycopg.OperationalError if it is of no use."""
    answered_at = connection.answered_at if isinstance(connection, WatchedConnection) else 0.0
    if monotonic() - answered_at < _TRUSTED_SECONDS and not connection.closed:
        return
    try:
        with patience(_CHECK_SECONDS):
            await AsyncConnectionPool.check_connection(connection)
    except psycopg.OperationalError as error:
        log.warning("database_connections_replaced", pool=pool.name, error=first_line(error))
        await pool.drain()
        raise


def require_url(url: object, setting: str) -> str:
    """The URL in a secret setting, or a SetupError that names the setting."""
    if url is None:
        raise SetupError("database_url_missing", setting=setting)
    reveal = getattr(url, "get_secret_value", None)
    return str(reveal() if reveal else url)


async def fetch_all(
    connection: Connection, model: type[Row], query: LiteralString, params: Params = ()
) -> list[Row]:
    """All rows of a query as instances of ``model``, a dataclass with the columns' names."""
    async with connection.cursor(row_factory=class_row(model)) as cursor:
        await cursor.execute(query, params)
        return await cursor.fetchall()


async def fetch_one(
    connection: Connection, model: type[Row], query: LiteralString, params: Params = ()
) -> Row | None:
    """The first row of a query as an instance of ``model``, or None."""
    async with connection.cursor(row_factory=class_row(model)) as cursor:
        await cursor.execute(query, params)
        return await cursor.fetchone()


async def fetch_value(connection: Connection, query: LiteralString, params: Params = ()) -> object:
    """The first column of the first row, or None."""
    cursor = await connection.execute(query, params)
    row = await cursor.fetchone()
    return row[0] if row else None


async def fetch_count(connection: Connection, query: LiteralString, params: Params = ()) -> int:
    """The number that a query gives. Raises TypeError where it gives none: the query is wrong."""
    value = await fetch_value(connection, query, params)
    if not isinstance(value, int):
        raise TypeError(f"a number was expected, not {type(value).__name__}")
    return value


def set_clause(columns: Sequence[LiteralString], changes: Mapping[str, Any]) -> LiteralString:
    """``name = %(name)s`` for those of ``columns`` that ``changes`` names: a sparse UPDATE."""
    return ", ".join(f"{column} = %({column})s" for column in columns if column in changes)


DatabaseDown = (psycopg.OperationalError, psycopg.InterfaceError)
"""What psycopg raises when the server is away: worth trying again."""
