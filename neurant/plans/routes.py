"""Plans, usage and the subscription over the API."""

from __future__ import annotations

from typing import Annotated

from neurant.api.call import Call, needs
from neurant.api.route import api_router
from neurant.core.errors import NotFoundError
from neurant.core.services import services_of
from neurant.plans import queries, service
from neurant.plans.limits import Excess, LimitUse, level, list_usage
from neurant.plans.schemas import (
    CloseWish,
    ExcessOut,
    LinkOut,
    PlanChoiceOut,
    PlanOut,
    PlansOut,
    PlanWish,
    SubscriptionOut,
    UsageLine,
    UsageOut,
)
from neurant.plans.service import billing_of
from neurant.texts import Language, preferred_language

router = api_router("plans")
Reading = Annotated[Call, needs("company.read")]
Bills = Annotated[Call, needs("billing.read")]
Paying = Annotated[Call, needs("billing.manage")]
Closing = Annotated[Call, needs("company.close")]


def _language(call: Call) -> Language:
    return preferred_language(call.request.headers.get("accept-language"))


@router.get("/plans")
async def list_plans(call: Reading) -> PlansOut:
    """The catalogue: what each plan allows, and its price a month."""
    plans = await queries.list_plans(call.connection)
    return PlansOut(data=[PlanOut.model_validate(one, from_attributes=True) for one in plans])


@router.get("/usage")
async def get_usage(call: Reading) -> UsageOut:
    """How much of each limit is used, exact at this moment."""
    found = await _found(call)
    return UsageOut.model_validate(
        {
            "plan": found.plan,
            "data": [_line(one) for one in await list_usage(call.connection)],
        }
    )


def _line(use: LimitUse) -> UsageLine:
    return UsageLine.model_validate(
        {
            "limit": use.limit_name,
            "used": use.used,
            "allowed": use.allowed,
            "level": level(use),
            "next_plan": use.next_plan,
        }
    )


@router.get("/subscription")
async def get_subscription(call: Bills) -> SubscriptionOut:
    """The plan, its state, and what is about to change."""
    return await _told(call)


@router.post("/subscription/change")
async def change_plan(call: Paying, wish: PlanWish) -> PlanChoiceOut:
    """Choose a plan: a larger one begins once it is paid or confirmed, a smaller one when what is
    paid ends and everything fits."""
    billing, company_id = billing_of(call.request), call.caller.company_id
    choice = await service.choose_plan(call.connection, company_id, wish.plan, billing)
    if isinstance(choice, service.Purchase):
        async with call.outside():
            choice = await service.buy(billing, choice, _language(call))
    return PlanChoiceOut.model_validate(
        {
            "outcome": choice.outcome,
            "excess": [_excess(one) for one in choice.excess],
            "checkout_url": choice.checkout_url,
            "subscription": await _told(call),
        }
    )


@router.post("/subscription/trial")
async def try_plan(call: Paying, wish: PlanWish) -> SubscriptionOut:
    """Try a paid plan before paying, once for each company; then free if the use fits."""
    days = services_of(call.request).settings.trial_days
    await service.try_plan(call.connection, wish.plan, days)
    return await _told(call)


@router.delete("/subscription/change")
async def keep_plan(call: Paying) -> SubscriptionOut:
    """Take back what was requested, scheduled or cancelled."""
    await service.keep_plan(call.connection)
    return await _told(call)


@router.post("/subscription/cancel")
async def cancel_subscription(call: Paying) -> SubscriptionOut:
    """Stop paying when what is paid ends: free then if the use fits, else inactive; nothing is
    deleted."""
    await service.stop_paying(call.connection)
    return await _told(call)


@router.post("/subscription/checkout")
async def start_checkout(call: Paying, wish: PlanWish) -> LinkOut:
    """Where to pay for a plan."""
    billing, company_id = billing_of(call.request), call.caller.company_id
    asked = await service.begin_checkout(call.connection, company_id, wish.plan, billing)
    async with call.outside():
        choice = await service.buy(billing, asked, _language(call))
    return LinkOut(url=choice.checkout_url or "")


@router.post("/subscription/portal")
async def open_portal(call: Paying) -> LinkOut:
    """Where to see bills and change the card."""
    billing = billing_of(call.request)
    payer = await service.find_payer(call.connection, call.caller.company_id, billing)
    async with call.outside():
        link = await service.portal_link(billing, payer, _language(call))
    return LinkOut(url=link)


@router.post("/subscription/close")
async def close_company(call: Closing, wish: CloseWish) -> SubscriptionOut:
    """Close the company: for 30 days its people read and export, and the owner may reopen it."""
    await service.close(call.connection, wish.confirm)
    return await _told(call)


@router.post("/subscription/reopen")
async def reopen_company(call: Closing) -> SubscriptionOut:
    """Open a closed company again, as it was."""
    await service.reopen(call.connection)
    return await _told(call)


async def _found(call: Call) -> queries.Subscription:
    found = await queries.read_subscription(call.connection, call.caller.company_id)
    if found is None:
        raise NotFoundError("not_found")
    return found


async def _told(call: Call) -> SubscriptionOut:
    now = await _found(call)
    waits = await queries.list_excess(call.connection, now.next_plan) if now.next_plan else []
    return SubscriptionOut.model_validate(
        {
            "plan": now.plan,
            "status": now.status,
            "ends_at": now.ends_at,
            "next_plan": now.next_plan,
            "changes_at": now.changes_at,
            "requested_plan": now.requested_plan,
            "waits_for": [_excess(one) for one in waits],
            "billing": services_of(call.request).settings.billing,
            "is_billed_online": now.payer().subscription_ref is not None,
        }
    )


def _excess(one: Excess) -> ExcessOut:
    return ExcessOut(limit=one.limit_name, used=one.used, allowed=one.allowed)
