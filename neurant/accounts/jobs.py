"""What the worker does for logins by the clock."""

from __future__ import annotations

from neurant.core.db.pool import Pool, fetch_count

_FORGET = "select private.forget_old_accounts()"


async def forget_old(pool: Pool) -> int:
    """Forget sign-ups, links, brakes and sessions that are over for days; how many."""
    async with pool.connection() as connection:
        return await fetch_count(connection, _FORGET)
