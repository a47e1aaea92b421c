"""The periodic work of the worker for logins."""

from __future__ import annotations

from neurant.core.db.pool import Pool, fetch_count

_FORGET = "select private.forget_old_accounts()"


async def forget_old(pool: Pool) -> int:
    """Delete sign-ups, links, throttles and sessions that ended days ago; return how many."""
    async with pool.connection() as connection:
        return await fetch_count(connection, _FORGET)
