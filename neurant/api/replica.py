"""Reads of the API from a replica, never older than the moment at which the request arrived.

The primary authenticates and authorizes the caller, so that a deactivated person, a revoked key or
a withdrawn permission takes effect at the next request. The same statement returns the position of
the primary's log. The replica serves the request only after it has replayed the log up to that
position. A client therefore reads its own writes, whichever process served them, and never reads an
older state than before. While the replica lags or does not answer, the primary serves the request.
"""

from __future__ import annotations

import asyncio

from psycopg_pool import PoolTimeout

from neurant.core.clock import monotonic
from neurant.core.db.pool import Connection, DatabaseDown, Pool, fetch_value, must_hold_nothing
from neurant.core.logs import get_logger

_PATIENCE = 0.05  # seconds for which a read waits for the replica
_POLL = 0.005
_BEHIND = 1.0  # seconds without a read after the replica did not catch up in time
_RETRY_AFTER = 5.0  # seconds without a read after the replica did not answer
_CONNECT = 1.0
_WRITTEN = "select pg_current_wal_insert_lsn()::text"
_REPLAYED = "select coalesce(pg_last_wal_replay_lsn(), '0/0')::text"
_CLUSTER = "select system_identifier::text from pg_control_system()"
_IS_REPLICA = "select pg_is_in_recovery()"

log = get_logger(__name__)


class Replica:
    """A replica and its state as this process knows it. ``pool`` connects to the replica."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._replayed = 0
        self._no_wait_until = 0.0
        self._unavailable_until = 0.0
        self._is_ours: bool | None = None  # unknown until the replica has answered once
        self._cluster: object = None  # the system identifier of the primary
        pool.timeout = _CONNECT

    def is_worth_asking(self) -> bool:
        """Return whether a read may use the replica: it is ours, answers, and has kept up
        recently.
        """
        now = monotonic()
        return (
            now >= max(self._unavailable_until, self._no_wait_until) and self._is_ours is not False
        )

    async def position_on(self, primary: Connection) -> int:
        """Return the position of the primary's log, in bytes, with one query."""
        if self._is_ours is None:
            self._cluster = await fetch_value(primary, _CLUSTER)
        return _position(await fetch_value(primary, _WRITTEN))

    async def has(self, wanted: int) -> bool:
        """Return whether the replica has replayed the log up to ``wanted``; wait for at
        most 50 ms.
        """
        must_hold_nothing("the replica")
        begun = monotonic()
        try:
            if self._is_ours is None and not await self._follows():
                return False
            while not await self._has(wanted):
                if monotonic() - begun >= _PATIENCE:
                    self._no_wait_until = monotonic() + _BEHIND
                    return False
                await asyncio.sleep(_POLL)
        except (*DatabaseDown, PoolTimeout) as error:
            self.mark_unavailable(error)
            return False
        return True

    async def _follows(self) -> bool:
        """Return whether the server is a replica of the primary; if not, this process never uses
        it.
        """
        async with self.pool.connection() as connection:
            is_replica = await fetch_value(connection, _IS_REPLICA)
            is_same = await fetch_value(connection, _CLUSTER) == self._cluster
        self._is_ours = bool(is_replica) and is_same
        if not self._is_ours:
            why = "of another cluster" if is_replica else "not a replica"
            log.warning("replica_not_used", setting="NEURANT_REPLICA_DATABASE_URL", why=why)
        return self._is_ours

    def mark_unavailable(self, error: Exception) -> None:
        """Note that the replica did not answer; the primary serves all reads for a while."""
        self._unavailable_until = monotonic() + _RETRY_AFTER
        log.warning("replica_away", error=str(error))

    async def _has(self, wanted: int) -> bool:
        if self._replayed < wanted:
            async with self.pool.connection() as connection:
                self._replayed = _position(await fetch_value(connection, _REPLAYED))
        return self._replayed >= wanted


def _position(told: object) -> int:
    """Convert a log sequence number of PostgreSQL (``16/B374D848``) into bytes."""
    high, _, low = str(told).partition("/")
    return (int(high, 16) << 32) + int(low, 16)
