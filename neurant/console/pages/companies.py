"""The company's pages: home, profile, and the steps of onboarding."""

from __future__ import annotations

import re
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError

from neurant.api.etag import etag_of
from neurant.auth.current import COMPANIES, PageStaff, check_origin, session_of
from neurant.auth.people import SignedIn
from neurant.chatbots import page_queries
from neurant.chatbots.schemas import TONES
from neurant.companies import founder, queries, service
from neurant.companies.schemas import SIZES, CompanyIn, CompanyPatch
from neurant.console.context import (
    console_context,
    my_permissions,
    require_in_context,
    require_permission,
)
from neurant.console.notice import Notice
from neurant.console.page_route import PageRoute
from neurant.console.pages.chatbots import gallery, make_from_template
from neurant.console.templating import render, translator
from neurant.core.db.tenancy import tenant
from neurant.core.errors import BadInputError, NeurantError, NotFoundError
from neurant.core.language import reader_language
from neurant.core.services import services_of
from neurant.plans.limits import documents_limit, list_usage, people_limit

HOME = "/console/home"
SETTINGS = "/console/settings/company"
START = "/onboarding"
_BARE_ADDRESS = re.compile(r"[\w-]+(\.[\w-]+)+(/\S*)?")
SET_UP = "company.edit"
_STEPS = {"plan": SET_UP, "bot": "chatbots.edit", "test": "chatbots.edit"}
_FOUND = ("name", "industry", "size", "website", "phone", "timezone")
_PROFILE = (
    *("name", "email", "phone", "industry", "size", "website", "logo_url", "timezone"),
    "visitor_conversations_per_hour",
)

router = APIRouter(route_class=PageRoute, include_in_schema=False)
Text = Annotated[str, Form()]


def _wrong(request: Request, error: ValidationError) -> tuple[list[str], str]:
    """Return the names of the invalid fields and the error text."""
    t = translator(reader_language(request))
    names = list(dict.fromkeys(str(one["loc"][0]) for one in error.errors()))
    told = ", ".join(t(f"company.field.{name}") for name in names)
    return names, BadInputError("invalid_fields", fields=told).detail(reader_language(request))


async def _typed(request: Request, names: tuple[str, ...]) -> dict[str, str]:
    form = await request.form()
    typed = {
        name: value.strip() if isinstance(value := form.get(name, ""), str) else ""
        for name in (*names, "etag")
    }
    if _BARE_ADDRESS.fullmatch(typed["website"]):  # people type an address without https://
        typed["website"] = f"https://{typed['website']}"
    return typed


@router.get(HOME, response_class=HTMLResponse)
async def home_page(request: Request, staff: PageStaff) -> Response:
    """Show the home page: the checklist until it is done, the bots, the plan's usage."""
    async with tenant(services_of(request).pool, staff.principal) as connection:
        context = await console_context(connection, staff)
        setup = await service.onboarding(connection)
        cards = await page_queries.list_cards(connection)
        usage = await list_usage(connection)
    path = f"/console/bots/{cards[0].id}" if cards else "/console/bots"
    return render(
        request,
        "company/home.html",
        setup=setup,
        cards=cards,
        usage=usage,
        bot_path=path,
        no_documents=documents_limit(usage, reader_language(request)),
        **context,
    )


@router.post(f"{HOME}/hide")
async def hide_checklist(request: Request, staff: PageStaff) -> Response:
    """Hide the checklist for good."""
    check_origin(request)
    async with tenant(services_of(request).pool, staff.principal) as connection:
        await require_permission(connection, SET_UP)
        await queries.pass_step(connection, "hide")
    return RedirectResponse(HOME, 303)


@router.get(SETTINGS, response_class=HTMLResponse)
async def company_page(request: Request, staff: PageStaff) -> Response:
    """Show the company's profile."""
    return await _company(request, staff)


async def _company(
    request: Request,
    staff: SignedIn,
    problem: str | None = None,
    typed: dict[str, str] | None = None,
    wrong: list[str] | None = None,
) -> Response:
    t = translator(reader_language(request))
    saved = "notice" in request.query_params
    notice = Notice("ok", "check", t("company.saved")) if saved else None
    async with tenant(services_of(request).pool, staff.principal) as connection:
        context = await console_context(connection, staff, notice)
        company = await queries.get_company(connection)
        industries = await queries.list_industries(connection)
    if company is None:
        raise NotFoundError("not_found")
    stored = {name: getattr(company, name) or "" for name in _PROFILE}
    return render(
        request,
        "company/company.html",
        status=422 if problem else 200,
        company=company,
        form=typed or stored,
        etag=etag_of(company, CompanyPatch),
        industries=industries,
        sizes=SIZES,
        problem=problem,
        wrong=wrong or (),
        **context,
    )


@router.post(SETTINGS)
async def save_company(request: Request, staff: PageStaff) -> Response:
    """Save the profile, unless it changed since the page was opened."""
    check_origin(request)
    typed = await _typed(request, _PROFILE)
    try:
        given = {name: typed[name] or None for name in _PROFILE}
        needed = {name: typed[name] for name in ("name", "email", "timezone")}
        patch = CompanyPatch.model_validate(given | needed)
        async with tenant(services_of(request).pool, staff.principal) as connection:
            require_in_context(await console_context(connection, staff), "company.edit")
            current = await queries.get_company(connection, locked=True)
            if current is None or typed["etag"] != etag_of(current, CompanyPatch):
                raise BadInputError("api.changed_meanwhile")
            await service.change(connection, patch)
    except ValidationError as error:
        names, told = _wrong(request, error)
        return await _company(request, staff, told, typed, names)
    except NeurantError as error:
        return await _company(request, staff, error.detail(reader_language(request)), typed)
    return RedirectResponse(f"{SETTINGS}?notice=saved", 303)


@router.get(START)
async def onboarding(request: Request) -> Response:
    """Redirect to the first open step of onboarding."""
    staff = await session_of(request)
    if staff is None:
        await founder.founder_or_login(request)
        return RedirectResponse(COMPANIES, 303)
    async with tenant(services_of(request).pool, staff.principal) as connection:
        may = await my_permissions(connection)
        setup = await service.onboarding(connection)
    step = setup.next_step
    goes_on = step is not None and _STEPS[step] in may
    return RedirectResponse(f"{START}/{step}" if goes_on else HOME, 303)


@router.get(f"{START}/company", response_class=HTMLResponse)
async def found_page(request: Request) -> Response:
    """Show the form for a new company; its name is suggested from the mail address."""
    person = await founder.founder_or_login(request)
    guess = {"name": service.name_from_email(person.email), "timezone": "America/Bogota"}
    return await _found(request, guess)


async def _found(
    request: Request,
    form: dict[str, str],
    problem: str | None = None,
    wrong: list[str] | None = None,
    status: int = 200,
    error: NeurantError | None = None,
) -> Response:
    async with services_of(request).pool.connection() as connection:
        industries = await queries.list_industries(connection)
    return render(
        request,
        "company/onboarding.html",
        status=status,
        error=error,
        step="company",
        form=dict.fromkeys(_FOUND, "") | form,
        industries=industries,
        sizes=SIZES,
        problem=problem,
        wrong=wrong or (),
    )


@router.post(f"{START}/company")
async def found_company(request: Request) -> Response:
    """Create the company and continue in it."""
    check_origin(request)
    person = await founder.founder_or_login(request)
    typed = await _typed(request, _FOUND)
    try:
        given: dict[str, Any] = {name: value for name, value in typed.items() if value}
        given.pop("etag", None)
        new = CompanyIn.model_validate(given)
        made = await service.found(services_of(request).pool, person, new)
    except ValidationError as error:
        names, told = _wrong(request, error)
        return await _found(request, typed, told, names, 422)
    except NeurantError as error:
        return await _found(request, typed, error.detail(reader_language(request)), error=error)
    await founder.enter(request, person, made.id)
    return RedirectResponse(f"{START}/plan", 303)


async def _step(request: Request, staff: SignedIn, step: str, **context: Any) -> Response:
    async with tenant(services_of(request).pool, staff.principal) as connection:
        usage = await list_usage(connection)
    language = reader_language(request)
    return render(
        request,
        "company/onboarding.html",
        status=context.pop("status", 200),
        step=step,
        staff=staff,
        no_people=people_limit(usage, language),
        no_documents=documents_limit(usage, language),
        **{"problem": None, "chosen": None, "wrong": (), **context},
    )


@router.get(f"{START}/plan", response_class=HTMLResponse)
async def plan_page(request: Request, staff: PageStaff) -> Response:
    """Show the step of the plan, which begins with the Free plan."""
    async with tenant(services_of(request).pool, staff.principal) as connection:
        await require_permission(connection, _STEPS["plan"])
    return await _step(request, staff, "plan")


@router.post(f"{START}/plan")
async def plan_seen(request: Request, staff: PageStaff) -> Response:
    """Continue with the Free plan."""
    return await _pass(request, staff, "plan")


@router.post(f"{START}/skip")
async def skip_bot(request: Request, staff: PageStaff) -> Response:
    """Skip the step of the first bot."""
    return await _pass(request, staff, "skip_bot")


async def _pass(request: Request, staff: SignedIn, step: str) -> Response:
    check_origin(request)
    async with tenant(services_of(request).pool, staff.principal) as connection:
        await require_permission(connection, SET_UP)
        await queries.pass_step(connection, step)
    return RedirectResponse(START, 303)


@router.get(f"{START}/bot", response_class=HTMLResponse)
async def first_bot_page(request: Request, staff: PageStaff, template: str = "") -> Response:
    """Show the step of the first bot: a template of the company's industry, then its name."""
    return await _first_bot(request, staff, template)


async def _first_bot(
    request: Request,
    staff: SignedIn,
    template: str,
    problem: str | None = None,
    form: dict[str, str] | None = None,
    status: int = 200,
    error: NeurantError | None = None,
) -> Response:
    async with tenant(services_of(request).pool, staff.principal) as connection:
        await require_permission(connection, _STEPS["bot"])
        company = await queries.get_company(connection)
        shown = await gallery(connection, template, "")
    industry = company.industry if company else None
    fitting = [one for one in shown["templates"] if one.industry in (industry, "other")]
    general = [one for one in shown["templates"] if one.is_featured and one not in fitting]
    shown["templates"] = sorted(fitting, key=lambda one: one.industry == "other") + general[:4]
    return await _step(
        request,
        staff,
        "bot",
        problem=problem,
        form=form or {},
        tones=TONES,
        status=status,
        **shown,
    )


@router.post(f"{START}/bot")
async def make_first_bot(
    request: Request,
    staff: PageStaff,
    template_id: Text = "",
    name: Text = "",
    persona: Text = "",
    tone: Text = "",
) -> Response:
    """Create the first bot and go to its trial."""
    check_origin(request)
    try:
        await make_from_template(request, staff, template_id, name, persona, tone)
    except NeurantError as error:
        form = {"name": name, "persona": persona, "tone": tone}
        told = error.detail(reader_language(request))
        return await _first_bot(request, staff, template_id, told, form, error.status)
    return RedirectResponse(f"{START}/test", 303)


@router.get(f"{START}/test", response_class=HTMLResponse)
async def trial_page(request: Request, staff: PageStaff, bot: UUID | None = None) -> Response:
    """Show the trial chat of the new bot."""
    async with tenant(services_of(request).pool, staff.principal) as connection:
        await require_permission(connection, _STEPS["test"])
        cards = await page_queries.list_cards(connection)
    chosen = next((card for card in cards if bot in (None, card.id)), None)
    if chosen is None:
        return RedirectResponse(f"{START}/bot", 303)
    return await _step(request, staff, "test", bot=chosen)
