"""Database connections that detect an unresponsive peer.

A proxy or a firewall may silently drop the traffic of a connection: the sockets stay open, and no
reset and no error ever arrives. Two measures detect that:

- TCP keepalives and the user timeout (``with_timeouts``), if the network itself is silent;
- a limit on every wait for an answer (``patience``), if an intermediary still acknowledges
  our packets. A connection that exceeds the limit is closed and never used again.

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
_INTERVAL = 0.1  # seconds between psycopg's checks for interrupts, its own default
# A peer counts as gone after 10 + 3 * 5 silent seconds, or 15 without an acknowledgement.
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
    """Return the connection string with our timeouts, except for those that it sets itself."""
    given = conninfo_to_dict(url)
    return make_conninfo("", **{**_TIMEOUTS, **given})


def be_patient(seconds: float) -> None:
    """Set the time limit of each statement in the rest of this task, in seconds."""
    _patience.set(seconds)


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Set the time limit of each statement in this block and its new tasks, in seconds."""
    token = _patience.set(seconds)
    try:
        yield
    finally:
        _patience.reset(token)


class WatchedConnection(AsyncConnection[TupleRow]):
    """A connection that waits for no answer longer than ``patience`` allows."""

    answered_at = 0.0

    async def wait(
        self,
        gen: PQGen[RV],
        interval: float = _INTERVAL,
        timeout: float | None = None,  # noqa: ASYNC109 - psycopg's signature
    ) -> RV:
        """Wait like psycopg's method, which every statement uses; keep an explicit ``timeout``.

        Raises psycopg.OperationalError after the limit. The connection is then closed, because the
        state of the statement on the server is unknown.
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
    """Open a watched connection outside any pool."""
    return await WatchedConnection.connect(with_timeouts(url), **options)
