"""The plan pages of the console: the subscription, its usage, and the change to another plan."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from neurant.auth.current import PageStaff
from neurant.auth.people import SignedIn
from neurant.console.context import console_context, require_in_context
from neurant.console.notice import Notice
from neurant.console.page_route import PageRoute
from neurant.console.templating import markup, render, translator
from neurant.core.db.pool import Connection
from neurant.core.db.tenancy import tenant
from neurant.core.errors import NeurantError, NotFoundError
from neurant.core.language import reader_language
from neurant.core.services import services_of
from neurant.plans import queries, service
from neurant.plans.limits import LimitUse, excess_in_words, level, list_usage, plan_name
from neurant.plans.offer import LIMITS, limit_of
from neurant.plans.queries import Subscription
from neurant.plans.service import billing_of

PAGE = "/console/plan"
_METER = {"ok": "ok", "high": "warn", "critical": "bad", "reached": "bad"}
_BADGE = {
    "active": "ok", "trialing": "info", "past_due": "warn", "inactive": "bad", "cancelled": "bad"
}  # fmt: skip
_TOLD = ("past_due", "inactive", "cancelled", "trialing")
_READS_BILLS = ("owner", "administrador")

router = APIRouter(prefix=PAGE, route_class=PageRoute, include_in_schema=False)
PlanForm = Annotated[str, Form(max_length=50)]
Confirm = Annotated[str, Form(max_length=100)]


@router.get("", response_class=HTMLResponse)
async def plan_page(request: Request, staff: PageStaff, paid: str = "") -> Response:
    """Show the plan, its usage and the catalogue; without ``billing.read`` only the usage."""
    notice = None
    if paid:
        told = translator(reader_language(request))("plans.page.paid")
        notice = Notice("ok", "check", told)
    return await _page(request, staff, notice)


@router.get("/banner", response_class=HTMLResponse)
async def banner(request: Request, staff: PageStaff) -> Response:
    """Return the subscription banner that every page loads; 204 if there is nothing to say."""
    async with tenant(services_of(request).pool, staff.principal) as connection:
        now = await _subscription(connection, staff)
    if now.status not in _TOLD or (now.status == "trialing" and staff.role not in _READS_BILLS):
        return Response(status_code=204)
    context = {"now": now, "staff": staff, "timezone": now.timezone}
    return HTMLResponse(markup(request, "plans/subscription_banner.html", **context))


@router.get("/choose/{plan}", response_class=HTMLResponse)
async def consider(request: Request, staff: PageStaff, plan: str) -> Response:
    """Show what another plan changes, when it begins and what it costs. Changes nothing."""
    async with tenant(services_of(request).pool, staff.principal) as connection:
        now = await _subscription(connection, staff)
        plans = await queries.list_plans(connection)
        wanted = next((one for one in plans if one.plan == plan), None)
        if wanted is None:
            raise NotFoundError("not_found")
        excess = await queries.list_excess(connection, plan)
        context = await console_context(connection, staff)
    require_in_context(context, "billing.manage")
    current = next(one for one in plans if one.plan == now.plan)
    language = reader_language(request)
    return render(
        request,
        "plans/choice.html",
        **context,
        now=now,
        wanted=wanted,
        wanted_name=plan_name(plan),
        is_smaller=wanted.rank < current.rank and now.status in ("active", "past_due"),
        costs=service.costs(plans, wanted, now),
        is_online=billing_of(request).biller is not None,
        at_once=billing_of(request).at_once,
        contact=services_of(request).settings.billing_contact,
        excess=[excess_in_words(one, language) for one in excess],
        trial_days=0
        if now.has_tried or now.plan != "free"
        else services_of(request).settings.trial_days,
        changes=[(name, limit_of(current, name), limit_of(wanted, name)) for name in LIMITS],
    )


@router.post("/choose")
async def choose(request: Request, staff: PageStaff, plan: PlanForm) -> Response:
    """Choose a plan, then redirect to the payment page if there is one, else to the plan."""
    billing, language = billing_of(request), reader_language(request)
    try:
        async with tenant(services_of(request).pool, staff.principal) as connection:
            choice = await service.choose_plan(connection, staff.company_id, plan, billing)
        if isinstance(choice, service.Purchase):
            choice = await service.buy(billing, choice, language)
    except NeurantError as error:
        return await _refused(request, staff, error)
    return RedirectResponse(choice.checkout_url or PAGE, 303)


@router.post("/try")
async def try_plan(request: Request, staff: PageStaff, plan: PlanForm) -> Response:
    """Start the trial of a paid plan, which a company has once."""
    days = services_of(request).settings.trial_days
    try:
        async with tenant(services_of(request).pool, staff.principal) as connection:
            await service.try_plan(connection, plan, days)
    except NeurantError as error:
        return await _refused(request, staff, error)
    return RedirectResponse(PAGE, 303)


@router.post("/{deed}")
async def act(request: Request, staff: PageStaff, deed: str, confirm: Confirm = "") -> Response:
    """Do an action (keep, cancel, reopen, close) and redirect; ``bills`` leads to the biller."""
    deeds: dict[str, Any] = {
        "keep": service.keep_plan,
        "cancel": service.stop_paying,
        "reopen": service.reopen,
        "close": partial(service.close, confirm=confirm),
    }
    language, billing = reader_language(request), billing_of(request)
    if deed not in deeds and deed != "bills":
        raise NotFoundError("not_found")
    try:
        async with tenant(services_of(request).pool, staff.principal) as connection:
            if deed == "bills":
                require_in_context(await console_context(connection, staff), "billing.manage")
                payer = await service.find_payer(connection, staff.company_id, billing)
            else:
                await deeds[deed](connection)
        if deed == "bills":
            link = await service.portal_link(billing, payer, language)
            return RedirectResponse(link, 303)
    except NeurantError as error:
        return await _refused(request, staff, error)
    return RedirectResponse(PAGE, 303)


async def _refused(request: Request, staff: SignedIn, error: NeurantError) -> Response:
    notice = Notice("bad", "alert", error.detail(reader_language(request)))
    return await _page(request, staff, notice, error.status)


async def _subscription(connection: Connection, staff: SignedIn) -> Subscription:
    found = await queries.read_subscription(connection, staff.company_id)
    if found is None:
        raise NotFoundError("not_found")
    return found


async def _page(
    request: Request, staff: SignedIn, notice: Notice | None, status: int = 200
) -> Response:
    async with tenant(services_of(request).pool, staff.principal) as connection:
        now = await _subscription(connection, staff)
        dates = await queries.read_dates(connection, staff.company_id)
        plans = await queries.list_plans(connection)
        usage = await list_usage(connection)
        waits = await queries.list_excess(connection, now.next_plan) if now.next_plan else []
        free_excess = await queries.list_excess(connection, "free")
        slug = await queries.slug_to_close(connection)
        context = await console_context(connection, staff, notice)
    language = reader_language(request)
    current = next(one for one in plans if one.plan == now.plan)
    return render(
        request,
        "plans/plan.html",
        status=status,
        **context,
        now=now,
        dates=dates,
        slug=slug,
        current=current,
        badge=_BADGE[now.status],
        plans=plans,
        limits=LIMITS,
        of=limit_of,
        plan_name=plan_name,
        usage=[_meter(one) for one in usage],
        waits=[excess_in_words(one, language) for one in waits],
        fits_free=not free_excess,
        acts="billing.manage" in context["may"],
        reads_bills="billing.read" in context["may"],
        is_online=billing_of(request).biller is not None,
        by_hand=billing_of(request).biller is None and not billing_of(request).at_once,
        contact=services_of(request).settings.billing_contact,
        has_bills=now.customer_ref is not None,
    )


def _meter(use: LimitUse) -> dict[str, Any]:
    band = level(use)
    return {
        "name": use.limit_name,
        "used": use.used,
        "allowed": use.allowed,
        "band": _METER[band],
        "level": band,
        "share": min(100, use.used * 100 // use.allowed) if use.allowed > 0 else 0,
        "next_plan": plan_name(use.next_plan) if use.next_plan else None,
    }
