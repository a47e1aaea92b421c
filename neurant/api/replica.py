"""Reads of the API from a replica, never older than the moment at which the request came.

The caller is known and let in by the primary, so that a person who was deactivated, a key that was
revoked or a right that was taken away is so at the next request. The same statement tells how far
the primary's log is; only when the replica has replayed that far does it serve the request. So a
client reads what it has written, whichever process served it and whatever it sends along, and what
it read once it does not read in an older state. Else, and while the replica is away, the primary
serves: nothing depends on it.
"""

from __future__ import annotations

import asyncio

from psycopg_pool import PoolTimeout

from neurant.core.clock import monotonic
from neurant.core.db.pool import Connection, DatabaseDown, Pool, fetch_value, must_hold_nothing
from neurant.core.logs import get_logger

_PATIENCE = 0.05  # seconds that a read waits for the replica
_POLL = 0.005
_BEHIND = 1.0  # after it was waited for in vain, nobody asks
_AWAY = 5.0  # after it did not answer, nobody asks
_CONNECT = 1.0
_WRITTEN = "select pg_current_wal_insert_lsn()::text"
_REPLAYED = "select coalesce(pg_last_wal_replay_lsn(), '0/0')::text"
_CLUSTER = "select system_identifier::text from pg_control_system()"
_IS_REPLICA = "select pg_is_in_recovery()"

log = get_logger(__name__)


class Replica:
    """A replica and what is known of it in this process. ``pool`` leads to it."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._replayed = 0
        self._no_wait_until = 0.0
        self._away_until = 0.0
        self._is_ours: bool | None = None  # not known before it answered once
        self._cluster: object = None  # of the primary
        pool.timeout = _CONNECT

    def is_worth_asking(self) -> bool:
        """Whether a read may go there: it is ours, and answered and kept up a moment ago."""
        now = monotonic()
        return now >= max(self._away_until, self._no_wait_until) and self._is_ours is not False

    async def position_on(self, primary: Connection) -> int:
        """How far the primary's log is: what ``has`` must have replayed. One query."""
        if self._is_ours is None:
            self._cluster = await fetch_value(primary, _CLUSTER)
        return _position(await fetch_value(primary, _WRITTEN))

    async def has(self, wanted: int) -> bool:
        """Whether it has replayed that far; it is waited for shortly, holding no connection."""
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
            self.is_away(error)
            return False
        return True

    async def _follows(self) -> bool:
        """Whether it is a replica of the primary: else it is not used as long as we run."""
        async with self.pool.connection() as connection:
            is_replica = await fetch_value(connection, _IS_REPLICA)
            is_same = await fetch_value(connection, _CLUSTER) == self._cluster
        self._is_ours = bool(is_replica) and is_same
        if not self._is_ours:
            why = "of another cluster" if is_replica else "not a replica"
            log.warning("replica_not_used", setting="NEURANT_REPLICA_DATABASE_URL", why=why)
        return self._is_ours

    def is_away(self, error: Exception) -> None:
        """It did not answer: for a while the primary serves."""
        self._away_until = monotonic() + _AWAY
        log.warning("replica_away", error=str(error))

    async def _has(self, wanted: int) -> bool:
        if self._replayed < wanted:
            async with self.pool.connection() as connection:
                self._replayed = _position(await fetch_value(connection, _REPLAYED))
        return self._replayed >= wanted


def _position(told: object) -> int:
    """A log sequence number as PostgreSQL writes it (``16/B374D848``), in bytes."""
    high, _, low = str(told).partition("/")
    return (int(high, 16) << 32) + int(low, 16)
