"""The rules of choosing, trying, paying and cancelling a plan, and of the provider's events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, cast
from uuid import UUID

import psycopg
from fastapi import Request

from neurant.api.outbound_limit import outbound_slot
from neurant.core.db.pool import Connection, Pool
from neurant.core.errors import BadInputError, ConflictError, ForbiddenError, MalformedError
from neurant.core.logs import get_logger
from neurant.core.services import services_of
from neurant.core.settings import Settings
from neurant.plans import queries
from neurant.plans.billing import Biller, BillingEvent, Payer, make_biller
from neurant.plans.limits import Excess, PlanTooSmallError, plan_name
from neurant.plans.queries import Plan, Subscription
from neurant.texts import Language

_SET_ASIDE = ("unknown_customer", "unknown_price")
log = get_logger(__name__)


# In these states the company must also pay for the plan that it already has.
_TO_BE_PAID = ("trialing", "inactive", "past_due")


ChangeOutcome = Literal["requested", "scheduled", "applied", "unchanged"]


@dataclass(frozen=True, slots=True)
class PlanChoice:
    """The result of choosing a plan.

    ``outcome`` is ``requested`` (the plan begins when it is paid, at ``checkout_url`` if one is
    given), ``scheduled`` (a smaller plan begins when the paid period ends), ``applied`` or
    ``unchanged``. ``excess`` lists the limits of a smaller plan that the use must fit before the
    plan begins.
    """

    outcome: ChangeOutcome
    plan: str
    excess: list[Excess] = field(default_factory=list)
    checkout_url: str | None = None


@dataclass(frozen=True, slots=True)
class Billing:
    """The billing method of this installation."""

    biller: Biller | None
    at_once: bool = False


def make_billing(settings: Settings) -> Billing:
    """Return the billing of this installation. Raises SetupError for incomplete settings."""
    return Billing(make_biller(settings), settings.billing == "at_once")


def billing_of(request: Request) -> Billing:
    """Return the billing of the installation that serves the request."""
    return services_of(request).get(Billing)


@dataclass(frozen=True, slots=True)
class Purchase:
    """A purchase to request from the payment provider, outside any transaction (``buy``)."""

    payer: Payer
    plan: str
    is_open_bill: bool = False


async def choose_plan(
    connection: Connection, company_id: UUID, plan: str, billing: Billing
) -> PlanChoice | Purchase:
    """Choose a plan in the owner's transaction; return a Purchase if it costs money now.

    Raises BadInputError for an unknown plan, ForbiddenError if the caller is not the owner, and
    ConflictError if the plan is not for sale, is too small, or the charge was refused.
    """
    plans = await queries.list_plans(connection)
    wanted = _find(plans, plan)
    now = await _subscription(connection, company_id)
    if billing.biller is not None and costs(plans, wanted, now):
        return await _purchase(connection, wanted, now)
    outcome = await queries.change_plan(connection, plan)
    excess = await queries.list_excess(connection, plan)
    if outcome == "does_not_fit":
        raise PlanTooSmallError(plan, excess)
    _raise_unless_done(outcome, plan)
    if outcome == "requested" and billing.at_once:
        done = await queries.confirm_at_once(connection, company_id, plan)
        outcome = "applied" if done == "confirmed" else outcome
    reached = cast(ChangeOutcome, outcome)  # every other one was raised
    return PlanChoice(reached, plan, excess if outcome == "scheduled" else [])


async def _purchase(connection: Connection, wanted: Plan, now: Subscription) -> Purchase:
    if wanted.monthly_price_usd is None:
        raise ConflictError("billing.not_for_sale", plan=plan_name(wanted.plan))
    excess = await queries.list_excess(connection, wanted.plan)
    if excess:
        raise PlanTooSmallError(wanted.plan, excess)
    return Purchase(now.payer(), wanted.plan, is_open_bill=wanted.plan == now.plan)


async def buy(billing: Billing, asked: Purchase, language: Language) -> PlanChoice:
    """Request the purchase from the payment provider, whose event later activates the plan.

    No transaction or lock is held meanwhile. Raises UnavailableError, RateLimitedError, or
    ConflictError if the charge was refused.
    """
    biller, payer, link = _biller(billing), asked.payer, None
    async with outbound_slot(payer.company_id):
        if payer.subscription_ref is None:
            link = await biller.checkout(payer, asked.plan, language)
        elif asked.is_open_bill:
            link = await biller.portal(payer, language)
        else:
            await biller.upgrade(payer, asked.plan)
    return PlanChoice("requested", asked.plan, checkout_url=link)


def _biller(billing: Billing) -> Biller:
    if billing.biller is None:
        raise ConflictError("billing.by_hand")
    return billing.biller


def costs(plans: list[Plan], wanted: Plan, now: Subscription) -> bool:
    """Return whether the choice costs money now. A smaller plan begins later and costs nothing."""
    if wanted.plan == "free" or now.is_closed:
        return False
    rank = _find(plans, now.plan).rank
    if now.status == "past_due":
        return wanted.rank >= rank
    return wanted.rank > rank or now.status in _TO_BE_PAID


def _find(plans: list[Plan], plan: str) -> Plan:
    for one in plans:
        if one.plan == plan:
            return one
    raise BadInputError("plan.unknown", plans=", ".join(one.plan for one in plans))


async def _subscription(connection: Connection, company_id: UUID) -> Subscription:
    found = await queries.read_subscription(connection, company_id)
    if found is None:
        raise ForbiddenError("billing.owner_only")
    return found


def _raise_unless_done(outcome: str, plan: str = "") -> None:
    if outcome == "forbidden":
        raise ForbiddenError("billing.owner_only")
    if outcome == "closed":
        raise ConflictError("billing.closed")
    if outcome == "not_for_sale":
        raise ConflictError("billing.not_for_sale", plan=plan_name(plan))
    if outcome == "nothing_to_cancel":
        raise ConflictError("billing.nothing_to_cancel")
    if outcome == "nothing_scheduled":
        raise ConflictError("billing.nothing_scheduled")
    if outcome in ("tried_before", "nothing_to_try", "not_closed"):
        raise ConflictError(f"billing.{outcome}")
    if outcome == "too_late":
        raise ConflictError("billing.too_late")


async def try_plan(connection: Connection, plan: str, days: int) -> None:
    """Start the company's only trial, of ``days`` days. 0 means that trials are disabled.

    Raises ConflictError if the company may not start one, ForbiddenError if the caller is not the
    owner.
    """
    if days == 0:
        raise ConflictError("billing.no_trials")
    _raise_unless_done(await queries.start_trial(connection, plan, days), plan)


async def stop_paying(connection: Connection) -> str:
    """Cancel the paid plan; return ``scheduled``, ``ended_free`` or ``ended_inactive``.

    Raises ForbiddenError, or ConflictError if there is no paid plan.
    """
    outcome = await queries.cancel_subscription(connection)
    _raise_unless_done(outcome)
    return outcome


async def keep_plan(connection: Connection) -> None:
    """Withdraw the pending plan change. Raises ForbiddenError; ConflictError if there is none."""
    _raise_unless_done(await queries.keep_plan(connection))


async def close(connection: Connection, confirm: str) -> None:
    """Close the company, which can be read, exported and reopened for 30 days.

    ``confirm`` is its short name, typed by the owner. Raises ForbiddenError, or ConflictError if
    the company is already closed or the name differs.
    """
    slug = await queries.slug_to_close(connection)
    if slug is None:
        raise ForbiddenError("billing.owner_only")
    if confirm.strip() != slug:
        raise ConflictError("billing.close_unconfirmed", slug=slug)
    outcome = await queries.close_company(connection)
    if outcome == "closed_before":
        raise ConflictError("billing.closed")
    if outcome == "forbidden":
        raise ForbiddenError("billing.owner_only")


async def reopen(connection: Connection) -> None:
    """Reopen a closed company. Raises ForbiddenError, or ConflictError (open, or too late)."""
    _raise_unless_done(await queries.reopen_company(connection))


async def find_payer(connection: Connection, company_id: UUID, billing: Billing) -> Payer:
    """Return the company as the payment provider knows it.

    Raises ConflictError if there is no online billing, ForbiddenError if the caller is not the
    owner.
    """
    _biller(billing)
    return (await _subscription(connection, company_id)).payer()


async def portal_link(billing: Billing, payer: Payer, language: Language) -> str:
    """Return the address of the page for bills and the card. Raises as ``buy``."""
    async with outbound_slot(payer.company_id):
        return await _biller(billing).portal(payer, language)


async def begin_checkout(
    connection: Connection, company_id: UUID, plan: str, billing: Billing
) -> Purchase:
    """Return the purchase to request for a plan.

    Raises ConflictError if there is no online billing, a plan is already paid, or nothing is to be
    paid.
    """
    plans = await queries.list_plans(connection)
    wanted, now = _find(plans, plan), await _subscription(connection, company_id)
    _biller(billing)
    if now.is_closed:
        raise ConflictError("billing.closed")
    if now.payer().subscription_ref is not None:
        raise ConflictError("billing.paid_already")
    if not costs(plans, wanted, now):
        raise ConflictError("billing.nothing_to_pay", plan=plan_name(plan))
    return await _purchase(connection, wanted, now)


async def take_event(pool: Pool, event: BillingEvent) -> str:
    """Store an event of the payment provider and apply it once; return the outcome.

    An event may be delivered several times. Raises MalformedError if its references are malformed.
    ``pool`` is the web process's login.
    """
    try:
        outcome = await queries.store_event(pool, event)
    except (psycopg.errors.CheckViolation, psycopg.DataError):
        raise MalformedError("billing.bad_event") from None
    if outcome == "open":
        async with pool.connection() as connection:
            outcome = await queries.apply_event(connection, event.event_ref)
    if outcome in _SET_ASIDE:
        log.warning("billing_event_set_aside", billing_event=event.event_ref, outcome=outcome)
    return outcome


async def confirm_by_operator(pool: Pool, company_id: UUID, plan: str) -> None:
    """Confirm a plan as the installation's operator. Raises ConflictError (closed, too small)."""
    outcome = await queries.confirm_plan(pool, company_id, plan)
    if outcome == "closed":
        raise ConflictError("billing.closed")
    if outcome == "does_not_fit":
        raise ConflictError("billing.does_not_fit_here", plan=plan_name(plan))
