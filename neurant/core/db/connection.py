"""Connections that notice when nobody answers any more.

A proxy or a firewall may swallow a connection: it keeps the sockets open and forwards nothing, so
no reset and no error ever comes. Two things notice that:

- TCP keepalives and the user time-out (``with_timeouts``), where the network itself is silent;
- a limit on every wait for an answer (``patience``), where somebody in between still acknowledges
  what we send. A connection that exceeds it is closed and never used again.

Sources: PostgreSQL 18 "Parameter Key Words" (libpq), tcp(7), psycopg's ``AsyncConnection.wait``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.errors import _WaitTimeout
from psycopg.rows import TupleRow

from neurant.core.clock import monotonic

RV = TypeVar("RV")
PATIENCE = 8.0  # seconds that a statement may take, unless a block says otherwise
CONNECT_SECONDS = 5
_INTERVAL = 0.1  # seconds between psycopg's looks at interrupts, as in psycopg itself
# A peer that is silent for 10 + 3 * 5 seconds, or acknowledges nothing for 15, is gone.
_TIMEOUTS: Mapping[str, int] = {
    "connect_timeout": CONNECT_SECONDS,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
_patience: ContextVar[float] = ContextVar("patience", default=PATIENCE)


def with_timeouts(url: str) -> str:
    """The connection string with our time-outs, except for those that it sets itself."""
    given = conninfo_to_dict(url)
    return make_conninfo("", **{**_TIMEOUTS, **given})


def be_patient(seconds: float) -> None:
    """Let each statement of the rest of this task take this many seconds."""
    _patience.set(seconds)


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Let each statement in this block (and in the tasks it starts) take this many seconds."""
    token = _patience.set(seconds)
    try:
        yield
    finally:
        _patience.reset(token)


class WatchedConnection(AsyncConnection[TupleRow]):
    """A connection on which no answer is awaited for longer than ``patience`` allows."""

    answered_at = 0.0

    async def wait(
        self,
        gen: PQGen[RV],
        interval: float = _INTERVAL,
        timeout: float | None = None,  # noqa: ASYNC109 - psycopg's signature
    ) -> RV:
        """As psycopg's, which every statement goes through; an own ``timeout`` is kept.

        Raises psycopg.OperationalError after the limit. The connection is closed then: what the
        server still does with the statement is not known.
        """
        limit = _patience.get()
        try:
            result = await super().wait(gen, interval, limit if timeout is None else timeout)
        except _WaitTimeout as error:
            if timeout is not None:
                raise
            self.pgconn.finish()
            message = f"the database did not answer within {limit:g} seconds"
            raise psycopg.OperationalError(message) from error
        self.answered_at = monotonic()
        return result


async def connect(url: str, **options: Any) -> WatchedConnection:
    """A watched connection outside any pool."""
    return await WatchedConnection.connect(with_timeouts(url), **options)
