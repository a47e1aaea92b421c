"""The page of the team and the page of a person, with forms that work without a script."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError

from neurant.accounts.reauthentication import actor_of, reauthenticate, reauthentication_method
from neurant.auth.current import PageStaff, page_person
from neurant.auth.people import SignedIn
from neurant.console.context import require_permission
from neurant.console.notice import Notice
from neurant.console.page_route import PageRoute
from neurant.console.pages.team_view import (
    newly_denied,
    person_context,
    roles_below,
    team_context,
)
from neurant.console.templating import render, translator
from neurant.core.db.tenancy import tenant
from neurant.core.errors import BadInputError, NeurantError
from neurant.core.language import reader_language
from neurant.core.services import services_of
from neurant.invitations import service as invitations
from neurant.invitations.schemas import InvitationIn
from neurant.invitations.service import Inviter
from neurant.plans.limits import within_limits
from neurant.team import service
from neurant.team.service import Owner

PAGE = "/console/team"
_DONE = (
    "invited", "renewed", "cancelled", "role", "permissions", "deactivated", "activated",
    "transferred",
)  # fmt: skip

_FIELDS = ("email", "role", "first_name", "last_name", "language")

router = APIRouter(prefix=PAGE, route_class=PageRoute, include_in_schema=False)
Text = Annotated[str, Form()]


def _notice(request: Request, error: NeurantError | None) -> Notice | None:
    language = reader_language(request)
    t = translator(language)
    if error is not None:
        detail = error.detail(language)
        return Notice("bad", "alert", t("team.not_done"), detail)
    done = request.query_params.get("done")
    return Notice("ok", "check", t(f"team.done.{done}")) if done in _DONE else None


async def _team(
    request: Request,
    staff: SignedIn,
    error: NeurantError | None = None,
    asked: dict[str, str] | None = None,
) -> Response:
    told = _notice(request, error)
    failed = told if error and asked else None  # shown only next to the form
    async with tenant(services_of(request).pool, staff.principal) as connection:
        context = await team_context(connection, staff, None if failed else told)
    asked = dict.fromkeys(_FIELDS, "") | {"language": reader_language(request)} | (asked or {})
    return render(request, "team/team.html", error=error, asked=asked, failed=failed, **context)


async def _person(
    request: Request, staff: SignedIn, user_id: UUID, error: NeurantError | None = None
) -> Response:
    async with tenant(services_of(request).pool, staff.principal) as connection:
        context = await person_context(connection, staff, user_id, _notice(request, error))
    if context["may_transfer"]:
        who = actor_of(await page_person(request))
        context["proof"] = await reauthentication_method(services_of(request).pool, who)
    return render(request, "team/person.html", error=error, **context)


def _inviter(staff: SignedIn) -> Inviter:
    return Inviter(staff.name, staff.company_id, staff.company_name)


def _done(what: str, path: str = PAGE) -> Response:
    return RedirectResponse(f"{path}?done={what}", 303)


@router.get("", response_class=HTMLResponse)
async def team_page(request: Request, staff: PageStaff) -> Response:
    """Show the people that the reader may see, and the invitations to roles below their own."""
    return await _team(request, staff)


@router.post("/invitations", response_class=HTMLResponse)
async def send_invitation(
    request: Request,
    staff: PageStaff,
    email: Text = "",
    role: Text = "",
    first_name: Text = "",
    last_name: Text = "",
    language: Text = "",
) -> Response:
    """Send an invitation; after an error the form keeps the typed values."""
    asked = {
        "email": email,
        "role": role,
        "first_name": first_name,
        "last_name": last_name,
        "language": language,
    }
    given: dict[str, Any] = {name: value.strip() or None for name, value in asked.items()}
    spoken = reader_language(request) if language not in ("es", "en") else language
    state = services_of(request)
    try:
        new = InvitationIn.model_validate(given | {"email": email.strip(), "language": spoken})
        async with within_limits(state.pool, staff.principal) as connection:
            await invitations.invite(
                connection,
                state.settings,
                _inviter(staff),
                new,
                new.language or reader_language(request),
            )
    except ValidationError as wrong:
        fields = ", ".join(sorted({str(one["loc"][0]) for one in wrong.errors()}))
        return await _team(request, staff, BadInputError("invalid_fields", fields=fields), asked)
    except NeurantError as error:
        return await _team(request, staff, error, asked)
    return _done("invited")


@router.post("/invitations/{invitation_id}/renew", response_class=HTMLResponse)
async def renew_invitation(request: Request, staff: PageStaff, invitation_id: UUID) -> Response:
    """Send an invitation again."""
    state = services_of(request)
    try:
        async with within_limits(state.pool, staff.principal) as connection:
            await invitations.renew(connection, state.settings, _inviter(staff), invitation_id)
    except NeurantError as error:
        return await _team(request, staff, error)
    return _done("renewed")


@router.post("/invitations/{invitation_id}/cancel", response_class=HTMLResponse)
async def cancel_invitation(request: Request, staff: PageStaff, invitation_id: UUID) -> Response:
    """Withdraw an invitation."""
    try:
        async with tenant(services_of(request).pool, staff.principal) as connection:
            await invitations.cancel(connection, invitation_id)
    except NeurantError as error:
        return await _team(request, staff, error)
    return _done("cancelled")


@router.get("/{user_id}", response_class=HTMLResponse)
async def person_page(request: Request, staff: PageStaff, user_id: UUID) -> Response:
    """Show a person: role, permissions, access."""
    return await _person(request, staff, user_id)


@router.post("/{user_id}/role", response_class=HTMLResponse)
async def change_role(
    request: Request, staff: PageStaff, user_id: UUID, role: Text = ""
) -> Response:
    """Change the person's role."""
    try:
        if role not in roles_below(staff.role):
            raise BadInputError("invalid_fields", fields="role")
        async with tenant(services_of(request).pool, staff.principal) as connection:
            await service.change_role(connection, user_id, role)
    except NeurantError as error:
        return await _person(request, staff, user_id, error)
    return _done("role", f"{PAGE}/{user_id}")


@router.post("/{user_id}/permissions", response_class=HTMLResponse)
async def change_permissions(
    request: Request,
    staff: PageStaff,
    user_id: UUID,
    allowed: Annotated[list[str], Form()] = [],  # noqa: B006 - a form without a tick
) -> Response:
    """Remove from the person every permission that is not ticked."""
    try:
        async with tenant(services_of(request).pool, staff.principal) as connection:
            denied = await newly_denied(connection, user_id, allowed)
            await service.change_denied(connection, user_id, denied)
    except NeurantError as error:
        return await _person(request, staff, user_id, error)
    return _done("permissions", f"{PAGE}/{user_id}")


@router.post("/{user_id}/active", response_class=HTMLResponse)
async def change_active(
    request: Request, staff: PageStaff, user_id: UUID, active: Text = ""
) -> Response:
    """Activate or deactivate the person."""
    is_active = active == "yes"
    try:
        async with within_limits(services_of(request).pool, staff.principal) as connection:
            await service.change_active(connection, user_id, is_active=is_active)
    except NeurantError as error:
        return await _person(request, staff, user_id, error)
    return _done("activated" if is_active else "deactivated", f"{PAGE}/{user_id}")


@router.post("/{user_id}/ownership", response_class=HTMLResponse)
async def pass_ownership(
    request: Request,
    staff: PageStaff,
    user_id: UUID,
    confirm: Text = "",
    password: Text = "",
    code: Text = "",
) -> Response:
    """Transfer the ownership after the owner typed the company's name and reauthenticated."""
    owner = Owner(staff.name, staff.company_id, staff.company_name)
    state = services_of(request)
    try:
        if confirm.strip().casefold() != staff.company_name.strip().casefold():
            raise BadInputError("team.transfer_mismatch")
        async with tenant(state.pool, staff.principal) as connection:
            await require_permission(connection, "company.transfer")
        person = await page_person(request)
        await reauthenticate(state.pool, state.settings, actor_of(person), password, code)
        async with tenant(state.pool, staff.principal) as connection:
            language = reader_language(request)
            await service.transfer_ownership(connection, state.settings, owner, user_id, language)
    except NeurantError as error:
        return await _person(request, staff, user_id, error)
    return _done("transferred")
