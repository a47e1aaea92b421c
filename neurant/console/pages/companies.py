"""The company's pages: home and profile."""

from __future__ import annotations

import re

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError

from neurant.api.etag import etag_of
from neurant.auth.current import PageStaff, check_origin
from neurant.auth.people import SignedIn
from neurant.chatbots import page_queries
from neurant.companies import queries, service
from neurant.companies.schemas import SIZES, CompanyPatch
from neurant.console.context import console_context, require_in_context, require_permission
from neurant.console.notice import Notice
from neurant.console.page_route import PageRoute
from neurant.console.templating import render, translator
from neurant.core.db.tenancy import tenant
from neurant.core.errors import BadInputError, NeurantError, NotFoundError
from neurant.core.language import reader_language
from neurant.core.services import services_of
from neurant.plans.limits import documents_limit, list_usage

HOME = "/console/home"
SETTINGS = "/console/settings/company"
_BARE_ADDRESS = re.compile(r"[\w-]+(\.[\w-]+)+(/\S*)?")
SET_UP = "company.edit"
_PROFILE = (
    *("name", "email", "phone", "industry", "size", "website", "logo_url", "timezone"),
    "visitor_conversations_per_hour",
)

router = APIRouter(route_class=PageRoute, include_in_schema=False)


def wrong_fields(request: Request, error: ValidationError) -> tuple[list[str], str]:
    """Return the names of the invalid fields and the error text."""
    t = translator(reader_language(request))
    names = list(dict.fromkeys(str(one["loc"][0]) for one in error.errors()))
    told = ", ".join(t(f"company.field.{name}") for name in names)
    return names, BadInputError("invalid_fields", fields=told).detail(reader_language(request))


async def typed_values(request: Request, names: tuple[str, ...]) -> dict[str, str]:
    """Return the trimmed values of the form's fields; a web address gets its missing https://."""
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
    typed = await typed_values(request, _PROFILE)
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
        names, told = wrong_fields(request, error)
        return await _company(request, staff, told, typed, names)
    except NeurantError as error:
        return await _company(request, staff, error.detail(reader_language(request)), typed)
    return RedirectResponse(f"{SETTINGS}?notice=saved", 303)
