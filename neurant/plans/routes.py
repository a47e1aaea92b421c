"""The JSON endpoints of plans, usage and the subscription."""

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
    """List the plans with their limits and monthly prices, the smallest first.

    Every member of the company may call it.
    """
    plans = await queries.list_plans(call.connection)
    return PlansOut(data=[PlanOut.model_validate(one, from_attributes=True) for one in plans])


@router.get("/usage")
async def get_usage(call: Reading) -> UsageOut:
    """Return how much of each limit of its plan the company uses at this moment.

    Every member of the company may call it.
    """
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
    """Return the company's plan, its state and the changes that are planned.

    The owner and administradores may call it.
    """
    return await _subscription_out(call)


@router.post("/subscription/change")
async def change_plan(call: Paying, wish: PlanWish) -> PlanChoiceOut:
    """Choose a plan.

    Only the owner may call it. A larger plan begins once it is paid or confirmed; a smaller one
    begins when the paid period ends and the company's use fits in it. The answer says which case
    applies. Refused with 409: ``plan.does_not_fit`` if the company uses more than the plan allows,
    ``billing.closed`` if the company is closed, ``billing.not_for_sale`` if the plan has no price
    here, ``billing.card_declined`` if the bank refuses the charge.
    """
    billing, company_id = billing_of(call.request), call.caller.company_id
    choice = await service.choose_plan(call.connection, company_id, wish.plan, billing)
    if isinstance(choice, service.Purchase):
        async with call.without_connection():
            choice = await service.buy(billing, choice, _language(call))
    return PlanChoiceOut.model_validate(
        {
            "outcome": choice.outcome,
            "excess": [_excess(one) for one in choice.excess],
            "checkout_url": choice.checkout_url,
            "subscription": await _subscription_out(call),
        }
    )


@router.post("/subscription/trial")
async def try_plan(call: Paying, wish: PlanWish) -> SubscriptionOut:
    """Start the free trial of a paid plan, once for each company.

    Only the owner of a company on the free plan may call it. When the trial ends, the company
    returns to the free plan if its use fits, and becomes inactive otherwise. Refused with 409:
    ``billing.tried_before``, ``billing.nothing_to_try``, ``billing.no_trials``,
    ``billing.not_for_sale``, ``billing.closed``.
    """
    days = services_of(call.request).settings.trial_days
    await service.try_plan(call.connection, wish.plan, days)
    return await _subscription_out(call)


@router.delete("/subscription/change")
async def keep_plan(call: Paying) -> SubscriptionOut:
    """Withdraw a plan change or cancellation that has not taken effect.

    Only the owner may call it. Refused with 409: ``billing.nothing_scheduled`` if no change is
    pending, ``billing.closed`` if the company is closed.
    """
    await service.keep_plan(call.connection)
    return await _subscription_out(call)


@router.post("/subscription/cancel")
async def cancel_subscription(call: Paying) -> SubscriptionOut:
    """Cancel the paid plan at the end of the paid period.

    Only the owner may call it. The company then moves to the free plan if its use fits, and becomes
    inactive otherwise; no data is deleted. If a payment is overdue, the plan ends at once. Refused
    with 409: ``billing.nothing_to_cancel`` if there is no paid plan, ``billing.closed`` if the
    company is closed.
    """
    await service.stop_paying(call.connection)
    return await _subscription_out(call)


@router.post("/subscription/checkout")
async def start_checkout(call: Paying, wish: PlanWish) -> LinkOut:
    """Return the address of a page on which the owner pays for a plan.

    Only the owner may call it. Refused with 409: ``billing.by_hand`` if this installation takes no
    payments online, ``billing.paid_already``, ``billing.nothing_to_pay``, ``billing.not_for_sale``,
    ``plan.does_not_fit``, ``billing.closed``.
    """
    billing, company_id = billing_of(call.request), call.caller.company_id
    asked = await service.begin_checkout(call.connection, company_id, wish.plan, billing)
    async with call.without_connection():
        choice = await service.buy(billing, asked, _language(call))
    return LinkOut(url=choice.checkout_url or "")


@router.post("/subscription/portal")
async def open_portal(call: Paying) -> LinkOut:
    """Return the address of a page on which the owner sees the bills and changes the card.

    Only the owner may call it. Refused with 409: ``billing.by_hand`` if this installation takes no
    payments online, ``billing.nothing_paid`` if the company has never paid online.
    """
    billing = billing_of(call.request)
    payer = await service.find_payer(call.connection, call.caller.company_id, billing)
    async with call.without_connection():
        link = await service.portal_link(billing, payer, _language(call))
    return LinkOut(url=link)


@router.post("/subscription/close")
async def close_company(call: Closing, wish: CloseWish) -> SubscriptionOut:
    """Close the company.

    Only the owner may call it. For 30 days its members can read and export the data, and the owner
    can reopen it. Refused with 409: ``billing.close_unconfirmed`` if ``confirm`` is not the short
    name, ``billing.closed`` if the company is already closed.
    """
    await service.close(call.connection, wish.confirm)
    return await _subscription_out(call)


@router.post("/subscription/reopen")
async def reopen_company(call: Closing) -> SubscriptionOut:
    """Reopen a closed company with the plan and state that it had.

    Only the owner may call it. Refused with 409: ``billing.not_closed``, or ``billing.too_late``
    more than 30 days after the company was closed.
    """
    await service.reopen(call.connection)
    return await _subscription_out(call)


async def _found(call: Call) -> queries.Subscription:
    found = await queries.read_subscription(call.connection, call.caller.company_id)
    if found is None:
        raise NotFoundError("not_found")
    return found


async def _subscription_out(call: Call) -> SubscriptionOut:
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
