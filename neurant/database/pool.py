"""The connection pools of a process, and reading typed rows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, class_row
from psycopg_pool import AsyncConnectionPool

from neurant.clock import monotonic
from neurant.database.connection import WatchedConnection, patience, with_timeouts
from neurant.errors import SetupError, first_line
from neurant.logs import get_logger

Connection = AsyncConnection[TupleRow]
Pool = AsyncConnectionPool[Connection]
Row = TypeVar("Row")
Params = Sequence[Any] | Mapping[str, Any]
_TRUSTED_SECONDS = 1.0  # after an answer a connection is not asked whether it lives
_CHECK_SECONDS = 1.5
_RECONNECT_SECONDS = 5.0  # then a new request begins anew, instead of ever longer pauses
log = get_logger(__name__)


def make_pool(url: str, *, size: int, pooled: bool) -> Pool:
    """An unopened pool of autocommit connections to ``url``.

    Autocommit, because ``tenancy.tenant`` begins and commits by itself, in fewer round trips.
    ``pooled``: the URL leads through a transaction pooler, where a prepared statement of one
    transaction may be unknown to the next.

    A connection that has not answered for a second is asked before it is given out. One that does
    not answer was swallowed on the way, and most probably all were: every idle one is replaced.
    """
    pool: Pool = AsyncConnectionPool(
        with_timeouts(url),
        connection_class=WatchedConnection,
        min_size=1,
        max_size=size,
        open=False,
        timeout=10,
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
