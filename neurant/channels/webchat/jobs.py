"""What the worker does for the web chat by the clock."""

from __future__ import annotations

from neurant.core.db.pool import Pool, fetch_count

_FORGET = "select private.forget_visitor_limits()"


async def forget_limits(pool: Pool) -> int:
    """Forget what counts no more of the visitors' limits; how many rows."""
    async with pool.connection() as connection:
        return await fetch_count(connection, _FORGET)
