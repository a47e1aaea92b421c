"""Keeping what is derived from messages up to date: the search of the inbox, for all companies."""

from __future__ import annotations

from neurant.core.db.pool import Pool

_AT_ONCE = 2000  # entries of the log in a transaction: about half a second
_DRAIN = "select private.drain_message_changes(%s)"


async def drain_once(pool: Pool, limit: int = _AT_ONCE) -> int:
    """Take at most ``limit`` entries off the log of changed messages; how many it were."""
    async with pool.connection() as connection:
        row = await (await connection.execute(_DRAIN, (limit,))).fetchone()
    return int(row[0]) if row else 0


async def drain_all(pool: Pool) -> int:
    """Take off the log all that is there, a transaction for each turn; how many entries it were."""
    drained = 0
    while True:
        some = await drain_once(pool)
        drained += some
        if some < _AT_ONCE:
            return drained
