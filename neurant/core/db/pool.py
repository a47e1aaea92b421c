"""The connection pools of a process, and queries that return typed rows.

A connection is held for database work only. A task that holds one must not wait for a thread, the
network, a client or a second connection: ``must_hold_nothing`` marks the start of such a wait, and
tests turn a violation into an error. Companies share a web process's connections fairly
(``sharing``).
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
_TRUSTED_SECONDS = 1.0  # after an answer, in which a connection is not checked
_CHECK_SECONDS = 1.5
_RECONNECT_SECONDS = 5.0  # then a new request retries, instead of growing pauses
ANYBODY = "anybody"  # unauthenticated requests: logins, and pages before the session is found
NEWCOMERS = "newcomers"  # credentials that this process has not seen yet
VISITORS = "visitors"
PLATFORM = "platform"  # work for all companies at once: ingest, readiness
_WAIT_SECONDS = 10.0
_RETRY_SECONDS = 2
_MAX_WAITING = 200  # requests of one company, more than it normally has in progress
_MAX_WAITING_SHARED = 2_000  # of a sharer of all companies: a reconnection wakes every stream
log = get_logger(__name__)


class _Held:
    """A connection that a task holds."""

    __slots__ = ("is_open", "task")

    def __init__(self) -> None:
        self.task, self.is_open = asyncio.current_task(), True


_held: ContextVar[_Held | None] = ContextVar("held", default=None)
_sharer: ContextVar[Hashable] = ContextVar("sharer", default=ANYBODY)
is_strict = False
"""Set by tests: a task that holds a connection while it waits for something else is an error."""


def must_hold_nothing(waits_for: str) -> None:
    """Declare that a wait for something other than the database begins.

    If this task holds a connection, it logs ``connection_held_while_waiting``, and in tests it
    raises RuntimeError. In production such a defect costs speed, not an answer.
    """
    held = _held.get()
    if held is None or not held.is_open or held.task is not asyncio.current_task():
        return
    if is_strict:
        raise RuntimeError(f"a connection is held while waiting for {waits_for}")
    log.error("connection_held_while_waiting", waits_for=waits_for, stack_info=True)


@contextmanager
def sharing(sharer: Hashable) -> Iterator[None]:
    """Count connections taken in the block against this sharer: a company's id, or a name above."""
    before = _sharer.get()
    _sharer.set(sharer)
    try:
        yield
    finally:
        _sharer.set(before)  # not by token, because a generator may be closed in another context


class Pool(AsyncConnectionPool[Connection]):
    """A pool that knows its holders. With ``is_shared``, one company holds at most half of it."""

    def __init__(self, url: str, *, is_shared: bool, **options: Any) -> None:
        super().__init__(url, **options)
        share = max(1, self.max_size // 2)
        self._gate = FairGate(self.max_size, share) if is_shared else None

    @asynccontextmanager
    async def connection(self, timeout: float | None = None) -> AsyncIterator[Connection]:  # noqa: ASYNC109 - psycopg's own name
        """Hold a connection while the block runs, within the sharer's share.

        Raises RateLimitedError if too many requests of the same company wait already, or this one
        waits too long (``timeout`` seconds, by default 10). Other sharers get UnavailableError or
        PoolTimeout.
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
            most = _MAX_WAITING if isinstance(sharer, UUID) else _MAX_WAITING_SHARED
            await gate.acquire(sharer, seconds=seconds or _WAIT_SECONDS, waiting=most)
        except QueueFullError:
            raise too_many_wait(sharer) from None
        except TimeoutError:
            if isinstance(
                sharer, UUID
            ):  # the database answers, but the company has too many requests
                raise too_many_wait(sharer) from None
            raise PoolTimeout("no connection of this share came free in time") from None


def too_many_wait(sharer: Hashable) -> NeurantError:
    """Return the error for a request with too many others of its own company before it."""
    if isinstance(sharer, UUID):
        return RateLimitedError("api.company_busy", seconds=_RETRY_SECONDS)
    return UnavailableError("busy", seconds=_RETRY_SECONDS)


def make_pool(
    url: str, *, size: int, pooled: bool, is_shared: bool = False, least: int = 1
) -> Pool:
    """Return an unopened pool of autocommit connections to ``url``.

    Autocommit, because ``tenancy.tenant`` begins and commits by itself, in fewer round trips.
    ``pooled``: the URL is a transaction pooler's, where a prepared statement of one transaction may
    be unknown to the next. ``is_shared``: companies share the pool fairly. ``least``: connections
    that stay open when idle.

    A connection that has not answered for a second is checked before use. If it does not answer,
    most probably no idle connection does, so every idle one is replaced.
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


def command_pool(url: str) -> Pool:
    """Return a small pool for one command, which connects to PostgreSQL without a pooler."""
    return make_pool(url, size=2, pooled=False)


async def _check(pool: Pool, connection: Connection) -> None:
    """Check an idle connection. Raises psycopg.OperationalError if it is unusable."""
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
    """Return the URL in a secret setting. Raises SetupError, which names the setting."""
    if url is None:
        raise SetupError("database_url_missing", setting=setting)
    reveal = getattr(url, "get_secret_value", None)
    return str(reveal() if reveal else url)


async def fetch_all(
    connection: Connection, model: type[Row], query: LiteralString, params: Params = ()
) -> list[Row]:
    """Return all rows of a query as instances of ``model``, a dataclass with the columns' names."""
    async with connection.cursor(row_factory=class_row(model)) as cursor:
        await cursor.execute(query, params)
        return await cursor.fetchall()


async def fetch_one(
    connection: Connection, model: type[Row], query: LiteralString, params: Params = ()
) -> Row | None:
    """Return the first row of a query as an instance of ``model``, or None."""
    async with connection.cursor(row_factory=class_row(model)) as cursor:
        await cursor.execute(query, params)
        return await cursor.fetchone()


async def fetch_value(connection: Connection, query: LiteralString, params: Params = ()) -> object:
    """Return the first column of the first row, or None."""
    cursor = await connection.execute(query, params)
    row = await cursor.fetchone()
    return row[0] if row else None


async def fetch_count(connection: Connection, query: LiteralString, params: Params = ()) -> int:
    """Return the number that a query returns. Raises TypeError if it returns none."""
    value = await fetch_value(connection, query, params)
    if not isinstance(value, int):
        raise TypeError(f"a number was expected, not {type(value).__name__}")
    return value


def set_clause(columns: Sequence[LiteralString], changes: Mapping[str, Any]) -> LiteralString:
    """Return the SET clause of an UPDATE for those of ``columns`` that ``changes`` names."""
    return ", ".join(f"{column} = %({column})s" for column in columns if column in changes)


DatabaseDown = (psycopg.OperationalError, psycopg.InterfaceError)
"""The errors of psycopg when the server is unreachable, after which a retry makes sense."""
