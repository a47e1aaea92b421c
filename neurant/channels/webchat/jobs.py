"""The periodic jobs of the web chat."""

from __future__ import annotations

from neurant.core.db.pool import Pool, fetch_count

_FORGET = "select private.forget_visitor_limits()"


async def forget_limits(pool: Pool) -> int:
    """Delete the expired usage of the visitors' limits. Returns the number of rows."""
    async with pool.connection() as connection:
        return await fetch_count(connection, _FORGET)
