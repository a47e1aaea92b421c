"""The SQL statements of plans and subscriptions, and their row types."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from neurant.core.db.pool import Connection, Pool, fetch_all, fetch_one, fetch_value
from neurant.plans.billing import BillingEvent, Payer, SubscriptionUpdate
from neurant.plans.limits import Excess

_CATALOGUE = """
select p.plan::text as plan, p.rank, p.monthly_price_usd, p.monthly_message_limit, p.max_chatbots,
  p.max_users, p.max_integrations, p.max_document_characters, p.max_storage_mb,
  p.max_hitl_concurrent, p.requests_per_minute, p.channels::text[] as channels
from public.plans p
order by p.rank
"""
_SUBSCRIPTION = """
select c.id as company_id, c.name as company_name, c.email, c.timezone,
  c.subscription_plan::text as plan, c.subscription_status::text as status,
  c.subscription_ends_at as ends_at, c.next_plan::text as next_plan,
  c.plan_change_scheduled_at as changes_at,
  (select r.plan::text from public.plan_requests r
    where r.company_id = c.id and r.status = 'pending') as requested_plan,
  c.subscription_status = 'cancelled' as is_closed, a.customer_ref, a.status as billing_status,
  a.subscription_ref, c.trial_started_at is not null as has_tried
from public.companies c
left join public.billing_accounts a on a.company_id = c.id
where c.id = %s
"""
_DATES = """
select c.subscription_started_at as started_at, c.plan_changed_at as changed_at
from public.companies c
where c.id = %s
"""
_FIT = "select limit_name, used, allowed from private.plan_fit(%s)"
_CHANGE = "select private.change_plan(%s)"
_KEEP = "select private.cancel_plan_change()"
_CANCEL = "select private.cancel_subscription()"
_REOPEN = "select private.reopen_company()"
_TRY = "select private.start_trial(%s::public.subscription_plan_enum, %s)"
_CONFIRM = "select private.confirm_plan(%s, %s)"
_AS_LOGIN = "select set_config('role', 'none', true)"
_AS_STAFF = "select set_config('role', 'authenticated', true)"
_SLUG_TO_CLOSE = """
select c.slug from public.companies c where c.id = (select private.company_id('company.close'))
"""
_CLOSE = "select private.close_company()"
_PAST_DUE = "select private.set_past_due(%s)"
_STORE = "select private.store_billing_event(%s, %s, %s, %s)"
_APPLY = "select private.apply_billing_event(%s)"
_OPEN = "select event_ref from private.open_billing_events() as event_ref"
_PENDING_UPDATES = """
select company_id, subscription_ref, plan::text as plan, cancels_at_end, plan_changes
from private.billing_to_tell()
"""
_TOLD = "select private.note_billing_told(%s, %s, %s, %s)"
_LIVE = ("active", "trialing", "past_due", "unpaid")


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan of the catalogue. -1 means unlimited; without a price it has no list price."""

    plan: str
    rank: int
    monthly_price_usd: Decimal | None
    monthly_message_limit: int
    max_chatbots: int
    max_users: int
    max_integrations: int
    max_document_characters: int
    max_storage_mb: int
    max_hitl_concurrent: int
    requests_per_minute: int
    channels: list[str]


@dataclass(frozen=True, slots=True)
class Subscription:
    """A company's plan, its state and the changes that are planned.

    ``ends_at`` is when the state ends; for inactive and cancelled companies, when it began. The
    fields that need ``billing.read`` (``requested_plan``, ``customer_ref``, …) are None for other
    callers.
    """

    company_id: UUID
    company_name: str
    email: str
    timezone: str
    plan: str
    status: str
    ends_at: datetime | None
    next_plan: str | None
    changes_at: datetime | None
    requested_plan: str | None
    is_closed: bool
    customer_ref: str | None
    billing_status: str | None
    subscription_ref: str | None
    has_tried: bool

    def payer(self) -> Payer:
        """Return the company as the payment provider knows it."""
        live = self.billing_status in _LIVE
        return Payer(
            self.company_id, self.email, self.customer_ref, self.subscription_ref if live else None
        )


@dataclass(frozen=True, slots=True)
class PlanDates:
    """Since when a company has a subscription, and since when the plan that it has now."""

    started_at: datetime | None
    changed_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Ref:
    event_ref: str


async def list_plans(connection: Connection) -> list[Plan]:
    """Return the catalogue, the smallest plan first."""
    return await fetch_all(connection, Plan, _CATALOGUE)


async def read_subscription(connection: Connection, company_id: UUID) -> Subscription | None:
    """Return the subscription of the caller's company; None for any other company."""
    return await fetch_one(connection, Subscription, _SUBSCRIPTION, (company_id,))


async def read_dates(connection: Connection, company_id: UUID) -> PlanDates | None:
    """The dates of the subscription of the caller's company; None for any other."""
    return await fetch_one(connection, PlanDates, _DATES, (company_id,))


async def list_excess(connection: Connection, plan: str) -> list[Excess]:
    """Return the limits of a plan that the use of the caller's company exceeds."""
    return await fetch_all(connection, Excess, _FIT, (plan,))


async def _fetch_outcome(connection: Connection, query: LiteralString, *params: object) -> str:
    return str(await fetch_value(connection, query, params))


async def change_plan(connection: Connection, plan: str) -> str:
    """Choose a plan as the owner; return the outcome of ``private.change_plan``."""
    return await _fetch_outcome(connection, _CHANGE, plan)


async def keep_plan(connection: Connection) -> str:
    """Withdraw the pending change; return the outcome of ``private.cancel_plan_change``."""
    return await _fetch_outcome(connection, _KEEP)


async def cancel_subscription(connection: Connection) -> str:
    """Cancel the paid plan; return the outcome of ``private.cancel_subscription``."""
    return await _fetch_outcome(connection, _CANCEL)


async def reopen_company(connection: Connection) -> str:
    """Reopen a closed company; return the outcome of ``private.reopen_company``."""
    return await _fetch_outcome(connection, _REOPEN)


async def start_trial(connection: Connection, plan: str, days: int) -> str:
    """Start a trial of ``days`` days; return the outcome of ``private.start_trial``."""
    return str(await fetch_value(connection, _TRY, (plan, days)))


async def slug_to_close(connection: Connection) -> str | None:
    """Return the short name of the company that the caller may close; None if they may not."""
    slug = await fetch_value(connection, _SLUG_TO_CLOSE)
    return None if slug is None else str(slug)


async def close_company(connection: Connection) -> str:
    """Close the company; return the outcome of ``private.close_company``."""
    return await _fetch_outcome(connection, _CLOSE)


async def confirm_at_once(connection: Connection, company_id: UUID, plan: str) -> str:
    """Confirm a plan in the caller's transaction; return the outcome.

    ``private.confirm_plan`` runs as the login, because no member of the staff may call it. The
    request and its confirmation are committed together.
    """
    await connection.execute(_AS_LOGIN)
    outcome = await _fetch_outcome(connection, _CONFIRM, company_id, plan)
    await connection.execute(_AS_STAFF)
    return outcome


async def confirm_plan(pool: Pool, company_id: UUID, plan: str) -> str:
    """Confirm that a plan is paid; return the outcome of ``private.confirm_plan``.

    ``pool`` is the web process's login, without a tenant.
    """
    async with pool.connection() as connection:
        return await _fetch_outcome(connection, _CONFIRM, company_id, plan)


async def set_past_due(pool: Pool, company_id: UUID) -> str:
    """Record a missing payment; return the outcome of ``private.set_past_due``.

    ``pool`` is the web process's login, without a tenant.
    """
    async with pool.connection() as connection:
        return await _fetch_outcome(connection, _PAST_DUE, company_id)


async def store_event(pool: Pool, event: BillingEvent) -> str:
    """Store an event; return its outcome, ``open`` if it is still to be applied."""
    params = (event.event_ref, event.kind, event.happened_at, Jsonb(event.facts))
    async with pool.connection() as connection:
        return await _fetch_outcome(connection, _STORE, *params)


async def apply_event(connection: Connection, event_ref: str) -> str:
    """Apply a stored event once; return the outcome."""
    return await _fetch_outcome(connection, _APPLY, event_ref)


async def list_open_events(connection: Connection) -> list[str]:
    """Return the events that are stored but not applied, the oldest first."""
    return [one.event_ref for one in await fetch_all(connection, _Ref, _OPEN)]


async def pending_subscription_updates(connection: Connection) -> list[SubscriptionUpdate]:
    """Return the subscriptions whose changes the payment provider does not know yet."""
    return await fetch_all(connection, SubscriptionUpdate, _PENDING_UPDATES)


async def note_update_sent(
    connection: Connection, change: SubscriptionUpdate, at: datetime
) -> None:
    """Record that the provider accepted the change; ``at`` is a time before it was asked."""
    params = (change.company_id, change.plan, change.cancels_at_end, at)
    await fetch_value(connection, _TOLD, params)
