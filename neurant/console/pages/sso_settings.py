"""The settings page of a company's connections to identity providers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, ValidationError

from neurant.accounts.sso import connections, domains, queries
from neurant.accounts.sso.provider import Providers
from neurant.accounts.sso.schemas import (
    SsoCheckOut,
    SsoConnectionNew,
    SsoConnectionPatch,
    SsoConnectionQuery,
)
from neurant.accounts.sso.service import callback_url
from neurant.auth.current import PageStaff, check_origin
from neurant.auth.people import SignedIn
from neurant.console.context import console_context, require_in_context
from neurant.console.navigation import SETTINGS_PATH
from neurant.console.notice import Notice
from neurant.console.page_route import PageRoute
from neurant.console.templating import render, translator
from neurant.core.db.tenancy import tenant
from neurant.core.errors import BadInputError, NeurantError
from neurant.core.language import reader_language
from neurant.core.services import services_of

HERE = f"{SETTINGS_PATH}/sso"
_DONE = ("made", "changed", "removed", "proven", "kept", "absent", "failing", "lost", "unreachable")
_GOOD = ("made", "changed", "removed", "proven", "kept")
_MAX_CONNECTIONS = 50
router = APIRouter(route_class=PageRoute, include_in_schema=False)
Field = Annotated[str, Form(max_length=8000)]


async def _page(
    request: Request,
    staff: SignedIn,
    *,
    part: str = "",
    error: NeurantError | None = None,
    typed: dict[str, Any] | None = None,
    checks: list[SsoCheckOut] | None = None,
) -> HTMLResponse:
    """Return the page; ``error``, ``typed`` and ``checks`` belong to ``part``: "new" or an id."""
    state, t = services_of(request), translator(reader_language(request))
    done = request.query_params.get("done", "")
    notice = _notice(done, t) if done in _DONE else None
    async with tenant(state.pool, staff.principal) as connection:
        context = await console_context(connection, staff, notice)
        require_in_context(context, "sso.read")
        found, _ = await queries.list_connections(
            connection, SsoConnectionQuery(limit=_MAX_CONNECTIONS)
        )
    problem = None
    if error is not None:
        detail = error.detail(reader_language(request))
        problem = {"kind": "bad", "title": t("sso.settings.not_saved"), "detail": detail}
    return render(
        request,
        "sso/settings.html",
        error=error,
        connections=[(one, domains.shown_claims(one)) for one in found],
        manages="sso.manage" in context["may"],
        redirect_uri=callback_url(state.settings, staff.company_id),
        part=part,
        problem=problem,
        typed=typed or {},
        checks=checks or [],
        **context,
    )


def _notice(done: str, t: Callable[[str], str]) -> Notice:
    if done in _GOOD:
        return Notice("ok", "check", t(f"sso.done.{done}"))
    return Notice("warn", "alert", t(f"sso.done.{done}"))


@router.get(HERE, response_class=HTMLResponse)
async def sso_settings(request: Request, staff: PageStaff) -> Response:
    """Show the connections."""
    return await _page(request, staff)


def _validated(model: type[BaseModel], typed: dict[str, Any]) -> Any:
    """Validate the typed values with the API's model. Raises BadInputError."""
    try:
        return model.model_validate(typed)
    except ValidationError as error:
        fields = sorted({str(one["loc"][0]) for one in error.errors()})
        raise BadInputError("invalid_fields", fields=", ".join(fields)) from None


def _domains(typed: str) -> list[str]:
    return [one for one in typed.replace(",", " ").replace(";", " ").split() if one]


@router.post(HERE, response_class=HTMLResponse)
async def add_connection(
    request: Request,
    staff: PageStaff,
    name: Field = "",
    issuer: Field = "",
    client_id: Field = "",
    client_secret: Field = "",
    domains: Field = "",
    default_role: Field = "",
) -> Response:
    """Add a connection to a provider."""
    check_origin(request)
    typed: dict[str, Any] = {
        "name": name.strip(),
        "issuer": issuer.strip(),
        "client_id": client_id.strip(),
        "domains": _domains(domains),
        "default_role": default_role or None,
    }
    state = services_of(request)
    try:
        new = _validated(SsoConnectionNew, typed | {"client_secret": client_secret.strip() or None})
        async with tenant(state.pool, staff.principal) as connection:
            require_in_context(await console_context(connection, staff), "sso.manage")
            await connections.create(connection, state.settings, staff.company_id, new)
    except NeurantError as error:
        return await _page(request, staff, part="new", error=error, typed=typed)
    return RedirectResponse(f"{HERE}?done=made", 303)


@router.post(f"{HERE}/{{connection_id}}", response_class=HTMLResponse)
async def change_connection(
    request: Request,
    staff: PageStaff,
    connection_id: UUID,
    name: Field = "",
    client_id: Field = "",
    client_secret: Field = "",
    domains: Field = "",
    default_role: Field = "",
    is_enforced: Field = "",
    is_active: Field = "",
) -> Response:
    """Change a connection; an empty secret keeps the stored one."""
    check_origin(request)
    typed: dict[str, Any] = {
        "name": name.strip(),
        "client_id": client_id.strip(),
        "domains": _domains(domains),
        "default_role": default_role or None,
        "is_enforced": is_enforced == "yes",
        "is_active": is_active == "yes",
    }
    if client_secret.strip():
        typed["client_secret"] = client_secret.strip()
    state = services_of(request)
    try:
        patch = _validated(SsoConnectionPatch, typed)
        async with tenant(state.pool, staff.principal) as connection:
            require_in_context(await console_context(connection, staff), "sso.manage")
            await connections.read(connection, connection_id, locked=True)
            await connections.change(
                connection, state.settings, staff.company_id, connection_id, patch
            )
    except NeurantError as error:
        return await _page(request, staff, part=str(connection_id), error=error)
    return RedirectResponse(f"{HERE}?done=changed", 303)


@router.post(f"{HERE}/{{connection_id}}/remove")
async def remove_connection(
    request: Request, staff: PageStaff, connection_id: UUID
) -> RedirectResponse:
    """Remove a connection; the sessions that it opened end."""
    check_origin(request)
    async with tenant(services_of(request).pool, staff.principal) as connection:
        require_in_context(await console_context(connection, staff), "sso.manage")
        await connections.remove(connection, connection_id)
    return RedirectResponse(f"{HERE}?done=removed", 303)


@router.post(f"{HERE}/{{connection_id}}/check", response_class=HTMLResponse)
async def check_connection(request: Request, staff: PageStaff, connection_id: UUID) -> Response:
    """Test the provider and show the results."""
    check_origin(request)
    state = services_of(request)
    async with tenant(state.pool, staff.principal) as connection:
        require_in_context(await console_context(connection, staff), "sso.manage")
        found = await connections.read(connection, connection_id)
    try:
        checks = await connections.check_connection(
            state.get(Providers), found.issuer, reader_language(request)
        )
    except NeurantError as error:
        return await _page(request, staff, part=str(connection_id), error=error)
    return await _page(request, staff, part=str(connection_id), checks=checks)


@router.post(f"{HERE}/{{connection_id}}/domain", response_class=HTMLResponse)
async def check_domain(
    request: Request, staff: PageStaff, connection_id: UUID, domain: Field = ""
) -> Response:
    """Look up the TXT record of a domain now."""
    check_origin(request)
    state = services_of(request)
    async with tenant(state.pool, staff.principal) as connection:
        require_in_context(await console_context(connection, staff), "sso.manage")
        claim = await domains.find_claim(connection, connection_id, domain)
    try:
        outcome = await domains.check_now(
            state.pool, state.settings, staff.company_id, claim, staff.auth_user_id, staff.trail
        )
    except NeurantError as error:
        return await _page(request, staff, part=str(connection_id), error=error)
    return RedirectResponse(f"{HERE}?done={_notice_of(outcome)}#c-{connection_id}", 303)


def _notice_of(outcome: str) -> str:
    return "kept" if outcome == "found" else outcome
