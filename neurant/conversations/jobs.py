"""The periodic job that updates the search index of messages, for all companies."""

from __future__ import annotations

from neurant.core.db.pool import Pool

_BATCH_SIZE = 2000  # log entries per transaction, which take about half a second
_DRAIN = "select private.drain_message_changes(%s)"


async def process_changes_once(pool: Pool, limit: int = _BATCH_SIZE) -> int:
    """Process at most ``limit`` entries of the log of changed messages; return how many."""
    async with pool.connection() as connection:
        row = await (await connection.execute(_DRAIN, (limit,))).fetchone()
    return int(row[0]) if row else 0


async def drain_all(pool: Pool) -> int:
    """Process the whole log, one transaction per batch; return how many entries."""
    drained = 0
    while True:
        some = await process_changes_once(pool)
        drained += some
        if some < _BATCH_SIZE:
            return drained
