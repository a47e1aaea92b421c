"""The periodic work of plans: new months, plan changes, alerts, and what runs out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID

from neurant.core.clock import utc_now
from neurant.core.db.pool import Pool, fetch_all, fetch_count, fetch_value
from neurant.core.errors import NeurantError
from neurant.core.logs import get_logger
from neurant.plans import queries
from neurant.plans.billing import Biller

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


# In this order: an invitation that ran out may be what a smaller plan waits for.
_CHORES: tuple[tuple[str, LiteralString], ...] = (
    ("expire_invitations", "select private.expire_invitations()"),
    ("end_subscriptions", "select private.end_subscriptions()"),
    ("tell_ending_trials", "select private.tell_ending_trials()"),
    ("apply_due_plan_changes", "select private.apply_due_plan_changes()"),
    ("raise_usage_alerts", "select private.raise_usage_alerts()"),
    ("expire_transfers", "select private.expire_transfers()"),
    ("escalate_waiting", "select private.escalate_waiting()"),
)


async def run_periodic(pool: Pool) -> dict[str, int]:
    """What is due by the clock over all companies; how much of each was done.

    One commit each; one that fails is logged, is missing from the answer, and stops no other.
    ``pool``: the worker's login.
    """
    done: dict[str, int] = {}
    for name, query in _CHORES:
        try:
            async with pool.connection() as connection:
                count = await fetch_count(connection, query)
        except Exception as error:
            log.warning("chore_failed", chore=name, error=f"{type(error).__name__}: {error}")
            continue
        done[name] = count
        if done[name]:
            log.info("chore_done", chore=name, count=done[name])
    return done


async def run_billing(pool: Pool, biller: Biller) -> int:
    """Apply what was told and not applied; tell the biller what changed here. How much of both.

    To be run every minute or so. One subscription that the biller refuses stops no other, and is
    tried again. ``pool``: the worker's login.
    """
    done = 0
    async with pool.connection() as connection:
        for event_ref in await queries.list_open_events(connection):
            await queries.apply_event(connection, event_ref)
            done += 1
        to_tell = await queries.list_to_tell(connection)
    for change in to_tell:
        asked_at = utc_now()
        try:
            await biller.tell(change)
        except NeurantError as error:
            log.warning("biller_not_told", company=str(change.company_id), error=error.code)
            continue
        async with pool.connection() as connection:
            await queries.note_told(connection, change, asked_at)
        done += 1
    return done
