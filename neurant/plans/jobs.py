"""The periodic work of plans: new months, and counters brought up to date."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from neurant.database.pool import Pool, fetch_all, fetch_value
from neurant.logs import get_logger

_RESET = "select company_id, counted from private.reset_monthly_message_count()"
_TO_DRAIN = "select company_id from private.companies_to_drain() as company_id"
_DRAIN = "select private.drain_message_usage(%s)"

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ClosedMonth:
    """A company whose new month has begun, and the bot messages that the old one came to."""

    company_id: UUID
    counted: int


@dataclass(frozen=True, slots=True)
class _ToDrain:
    company_id: UUID


async def run_monthly(pool: Pool) -> list[ClosedMonth]:
    """Begin the months that are due; bring ``companies.monthly_message_count`` up to date.

    To be run every minute or so by any number of workers, as often as they like: the limit itself
    rests on none of this. ``pool``: the worker's login.
    """
    async with pool.connection() as connection:
        closed = await fetch_all(connection, ClosedMonth, _RESET)
        for month in closed:
            log.info("month_closed", company=str(month.company_id), bot_messages=month.counted)
        # One commit each: no company's messages wait for another's.
        for one in await fetch_all(connection, _ToDrain, _TO_DRAIN):
            await fetch_value(connection, _DRAIN, (one.company_id,))
    return closed
