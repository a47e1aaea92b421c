"""Keeping what is derived from messages up to date: the search of the inbox, for all companies."""

from __future__ import annotations

import asyncio
import contextlib

from psycopg_pool import PoolTimeout

from neurant.database.pool import DatabaseDown, Pool
from neurant.logs import get_logger

_AT_ONCE = 2000  # entries of the log in a transaction: about half a second
_EVERY = 2.0  # seconds; until then a search reads what is new by itself
_DRAIN = "select private.drain_message_changes(%s)"

log = get_logger(__name__)


async def drain_once(pool: Pool, limit: int = _AT_ONCE) -> int:
    """Take at most ``limit`` entries off the log of changed messages; how many it were."""
    async with pool.connection() as connection:
        row = await (await connection.execute(_DRAIN, (limit,))).fetchone()
    return int(row[0]) if row else 0


async def keep_drained(pool: Pool, stop: asyncio.Event) -> None:
    """Drain the log until ``stop``: at once while it is long, every two seconds otherwise."""
    while not stop.is_set():
        try:
            if await drain_once(pool) == _AT_ONCE:
                continue
        except (*DatabaseDown, PoolTimeout) as error:
            log.warning("log_without_database", error=str(error))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _EVERY)
