"""The periodic jobs of plans: new months, plan changes, usage alerts and expirations."""

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
    """A company whose new month has begun, with the bot messages of the old month."""

    company_id: UUID
    counted: int


@dataclass(frozen=True, slots=True)
class _ToDrain:
    company_id: UUID


async def run_monthly(pool: Pool) -> list[ClosedMonth]:
    """Begin the months that are due and update ``companies.monthly_message_count``.

    Any number of workers may run it at any interval: enforcement of the limit does not depend on
    it. ``pool`` is the worker's login.
    """
    async with pool.connection() as connection:
        closed = await fetch_all(connection, ClosedMonth, _RESET)
        for month in closed:
            log.info("month_closed", company=str(month.company_id), bot_messages=month.counted)
        # One transaction per company, so that no company's messages wait for another company.
        for one in await fetch_all(connection, _ToDrain, _TO_DRAIN):
            await fetch_value(connection, _DRAIN, (one.company_id,))
    return closed


# Invitations expire first, because a smaller plan may wait for the seats that they free.
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
    """Run the jobs that are due, over all companies; return how many rows each one changed.

    Each job has its own transaction. A job that fails is logged and left out of the result, and the
    others still run. ``pool`` is the worker's login.
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
    """Apply open events and send local changes to the provider; return how many of both.

    A subscription that the provider refuses does not stop the others, and is tried again in the
    next run. ``pool`` is the worker's login.
    """
    done = 0
    async with pool.connection() as connection:
        for event_ref in await queries.list_open_events(connection):
            await queries.apply_event(connection, event_ref)
            done += 1
        pending = await queries.pending_subscription_updates(connection)
    for change in pending:
        asked_at = utc_now()
        try:
            await biller.tell(change)
        except NeurantError as error:
            log.warning("biller_not_told", company=str(change.company_id), error=error.code)
            continue
        async with pool.connection() as connection:
            await queries.note_update_sent(connection, change, asked_at)
        done += 1
    return done
