"""What an owner does with the plan, and what the biller's events do with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

import psycopg

from neurant.database.pool import Connection, Pool
from neurant.errors import BadInputError, ConflictError, ForbiddenError, MalformedError
from neurant.logs import get_logger
from neurant.plans import queries
from neurant.plans.billing import Biller, BillingEvent, Payer
from neurant.plans.limits import Excess, PlanTooSmallError, plan_name
from neurant.plans.queries import Plan, Subscription
from neurant.texts import Language

_SET_ASIDE = ("unknown_customer", "unknown_price")
log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PlanChoice:
    """What became of a chosen plan.

    ``outcome``: ``requested`` (it begins when it is paid), ``scheduled`` (smaller: at
    ``Subscription.changes_at``), ``applied`` or ``unchanged``. ``excess``: what does not fit in a
    smaller plan yet; it waits for that.
    """

    outcome: str
    plan: str
    excess: list[Excess] = field(default_factory=list)


def find_plan(plans: list[Plan], plan: str) -> Plan:
    """The plan of that name. Raises BadInputError, with the names that there are."""
    for one in plans:
        if one.plan == plan:
            return one
    raise BadInputError("plan.unknown", plans=", ".join(one.plan for one in plans))


async def choose_plan(connection: Connection, plan: str) -> PlanChoice:
    """The owner chooses a plan, in the caller's transaction.

    Raises BadInputError for an unknown one, ForbiddenError for anybody but the owner, ConflictError
    for one that is not for sale or into which the use does not fit.
    """
    find_plan(await queries.list_plans(connection), plan)
    outcome = await queries.change_plan(connection, plan)
    if outcome == "forbidden":
        raise ForbiddenError("billing.owner_only")
    if outcome == "not_for_sale":
        raise ConflictError("billing.not_for_sale", plan=plan_name(plan))
    excess = await queries.list_excess(connection, plan) if outcome != "unchanged" else []
    if outcome == "does_not_fit":
        raise PlanTooSmallError(plan, excess)
    return PlanChoice(outcome, plan, excess if outcome == "scheduled" else [])


async def settle_request(
    pool: Pool, biller: Biller | None, at_once: bool, choice: PlanChoice, payer: Payer
) -> PlanChoice:
    """What follows a request once it is committed: at once, charged on what is paid, or nothing.

    ``pool``: the web's login, as nobody.
    """
    if choice.outcome != "requested":
        return choice
    if biller is not None and payer.subscription_ref is not None:
        await biller.upgrade(payer, choice.plan)
    elif biller is None and at_once:
        done = await queries.confirm_plan(pool, payer.company_id, choice.plan)
        if done == "confirmed":
            return PlanChoice("applied", choice.plan)
    return choice


async def stop_paying(connection: Connection) -> str:
    """Cancel at the end of what is paid. Raises ForbiddenError; ConflictError: nothing is paid."""
    outcome = await queries.cancel_subscription(connection)
    if outcome == "forbidden":
        raise ForbiddenError("billing.owner_only")
    if outcome == "nothing_to_cancel":
        raise ConflictError("billing.nothing_to_cancel")
    return outcome


async def keep_plan(connection: Connection) -> None:
    """Keep the plan as it is. Raises ForbiddenError, or ConflictError: nothing was to change."""
    outcome = await queries.keep_plan(connection)
    if outcome == "forbidden":
        raise ForbiddenError("billing.owner_only")
    if outcome == "nothing_scheduled":
        raise ConflictError("billing.nothing_scheduled")


async def reopen(connection: Connection) -> None:
    """Open a closed company again. Raises ForbiddenError, or ConflictError: open, or too late."""
    outcome = await queries.reopen_company(connection)
    if outcome == "forbidden":
        raise ForbiddenError("billing.owner_only")
    if outcome != "reopened":
        raise ConflictError(f"billing.{outcome}")


async def checkout_link(
    biller: Biller | None, subscription: Subscription, plan: str, language: Language
) -> str:
    """Where to pay for a plan. Raises ConflictError where people confirm, or something is paid."""
    if biller is None:
        raise ConflictError("billing.by_hand")
    payer = subscription.payer()
    if payer.subscription_ref is not None:
        raise ConflictError("billing.paid_already")
    return await biller.checkout(payer, plan, language)


async def portal_link(biller: Biller | None, subscription: Subscription, language: Language) -> str:
    """Where to see bills and change the card. Raises ConflictError where there is none."""
    if biller is None:
        raise ConflictError("billing.by_hand")
    return await biller.portal(subscription.payer(), language)


async def take_event(pool: Pool, event: BillingEvent) -> str:
    """Store an event, then apply it; what became of it. Once, however often it is told.

    Raises MalformedError for one whose references are no references. ``pool``: the web's login.
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
    """The installation's operator confirms a plan. Raises ConflictError: closed, or too small."""
    outcome = await queries.confirm_plan(pool, company_id, plan)
    if outcome == "closed":
        raise ConflictError("billing.closed")
    if outcome == "does_not_fit":
        raise ConflictError("billing.does_not_fit_here", plan=plan_name(plan))
