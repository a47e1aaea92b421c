"""The page of a person's own account: profile, password, second factor, sessions."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from neurant.accounts.factor_queries import find_factor
from neurant.accounts.schemas import OpenedSession
from neurant.accounts.security import queries, service
from neurant.accounts.security.devices import device_of, is_phone
from neurant.accounts.service import SHORT
from neurant.auth.codes import NewFactor
from neurant.auth.cookies import COOKIE, keep_secret_cookie
from neurant.auth.current import PagePerson, PageStaff, check_origin
from neurant.auth.people import Person, SignedIn
from neurant.console.notice import Notice
from neurant.console.page_route import PageRoute
from neurant.console.pages.login import keep_language, problem_of
from neurant.console.templating import render, translator
from neurant.conversations.queries import company_timezone, count_conversations
from neurant.core.clock import utc_now
from neurant.core.db.tenancy import tenant
from neurant.core.errors import NeurantError, NotFoundError
from neurant.core.language import reader_language
from neurant.core.services import services_of

HERE = "/console/account"
_TOLD = (200, 403, 409, 422, 429)

router = APIRouter(route_class=PageRoute, include_in_schema=False)
Field = Annotated[str, Form()]


async def _page(
    request: Request,
    staff: SignedIn,
    person: Person,
    *,
    part: str = "",
    error: NeurantError | None = None,
    typed: queries.Profile | None = None,
    waiting_factor: NewFactor | None = None,
) -> HTMLResponse:
    """Return the page; it shows ``error`` in ``part`` (profile, password, two_step)."""
    if error is not None and error.status not in _TOLD:
        raise error
    pool = services_of(request).pool
    async with tenant(pool, staff.principal) as connection:
        profile = await queries.find_profile(connection)
        waiting = (await count_conversations(connection)).queue
        timezone = await company_timezone(connection)
    factor = None if person.is_limited else await find_factor(pool, person.auth_user_id)
    sessions = await queries.list_sessions(pool, person.digest)
    return render(
        request,
        "account/account.html",
        error=error,
        staff=staff,
        notice=_notice(request),
        waiting=waiting,
        timezone=timezone,
        profile=typed or profile,
        part=part,
        is_limited=person.is_limited,
        problem=problem_of(request, error) if error else None,
        two_step=factor is not None and factor.is_confirmed,
        codes_left=factor.codes_left if factor else 0,
        waiting_factor=waiting_factor,
        sessions=[(one, device_of(one.user_agent), is_phone(one.user_agent)) for one in sessions],
    )


def _notice(request: Request) -> Notice | None:
    done = request.query_params.get("done", "")
    if done not in ("profile", "password", "two_step_off", "session", "sessions"):
        return None
    return Notice("ok", "check", translator(reader_language(request))(f"accounts.done.{done}"))


def _renewed(
    request: Request, person: Person, response: Response, session: OpenedSession
) -> Response:
    """Set the cookie with the session's new token, with the lifetime of the previous cookie."""
    left = session.expires_at - utc_now()
    was_kept = session.expires_at - person.created_at > SHORT
    age = max(1, int(left.total_seconds())) if was_kept else None
    keep_secret_cookie(request, response, COOKIE, session.token, age)
    return response


@router.get(HERE, response_class=HTMLResponse)
async def account_page(request: Request, staff: PageStaff, person: PagePerson) -> Response:
    """Show the account page."""
    return keep_language(request, await _page(request, staff, person))


@router.post(f"{HERE}/profile", response_class=HTMLResponse)
async def change_profile(
    request: Request,
    staff: PageStaff,
    person: PagePerson,
    first_name: Field = "",
    last_name: Field = "",
    phone: Field = "",
    avatar_url: Field = "",
) -> Response:
    """Change the names, the phone number and the picture."""
    check_origin(request)
    typed = queries.Profile(first_name, last_name, phone, avatar_url)
    changes = {
        "first_name": first_name,
        "last_name": last_name,
        "phone": phone,
        "avatar_url": avatar_url,
    }
    try:
        await service.change_profile(services_of(request).pool, person, changes)
    except NeurantError as error:
        return await _page(request, staff, person, part="profile", error=error, typed=typed)
    return RedirectResponse(f"{HERE}?done=profile", 303)


@router.post(f"{HERE}/password", response_class=HTMLResponse)
async def change_password(
    request: Request,
    staff: PageStaff,
    person: PagePerson,
    current: Field = "",
    new: Field = "",
) -> Response:
    """Change the password."""
    check_origin(request)
    state, language = services_of(request), reader_language(request)
    try:
        session = await service.change_password(
            state.pool, state.settings, person, current, new, language=language
        )
    except NeurantError as error:
        return await _page(request, staff, person, part="password", error=error)
    response = RedirectResponse(f"{HERE}?done=password", 303)
    return _renewed(request, person, response, session)


@router.post(f"{HERE}/two-step", response_class=HTMLResponse)
async def begin_two_step(
    request: Request, staff: PageStaff, person: PagePerson, password: Field = ""
) -> Response:
    """Begin two-step verification and show the secret as a QR code."""
    check_origin(request)
    state = services_of(request)
    try:
        made = await service.begin_two_step(state.pool, state.settings, person, password)
    except NeurantError as error:
        return await _page(request, staff, person, part="two_step", error=error)
    return await _page(request, staff, person, waiting_factor=made)


@router.post(f"{HERE}/two-step/confirm", response_class=HTMLResponse)
async def confirm_two_step(
    request: Request, staff: PageStaff, person: PagePerson, code: Field = ""
) -> Response:
    """Confirm the first code, turn on two-step verification and show the recovery codes once."""
    check_origin(request)
    state = services_of(request)
    try:
        done = await service.confirm_two_step(state.pool, state.settings, person, code)
    except NeurantError as error:
        made = None
        if not person.is_limited:
            made = await service.waiting_two_step(state.pool, state.settings, person)
        return await _page(
            request, staff, person, part="two_step", error=error, waiting_factor=made
        )
    return await _shown(request, person, done.recovery_codes, done.session)


async def _shown(
    request: Request, person: Person, codes: list[str], session: OpenedSession | None
) -> Response:
    page = render(
        request, "account/recovery_codes.html", codes=codes, person=person, ready=f"{HERE}#two-step"
    )
    return _renewed(request, person, page, session) if session else page


@router.post(f"{HERE}/two-step/recovery-codes", response_class=HTMLResponse)
async def renew_recovery_codes(
    request: Request,
    staff: PageStaff,
    person: PagePerson,
    password: Field = "",
    code: Field = "",
) -> Response:
    """Replace the recovery codes with ten new ones, and show them once."""
    check_origin(request)
    state = services_of(request)
    try:
        codes = await service.renew_recovery_codes(
            state.pool, state.settings, person, password, code
        )
    except NeurantError as error:
        return await _page(request, staff, person, part="two_step", error=error)
    return await _shown(request, person, codes, None)


@router.post(f"{HERE}/two-step/disable", response_class=HTMLResponse)
async def disable_two_step(
    request: Request,
    staff: PageStaff,
    person: PagePerson,
    password: Field = "",
    code: Field = "",
) -> Response:
    """Turn off two-step verification."""
    check_origin(request)
    state = services_of(request)
    try:
        session = await service.disable_two_step(state.pool, state.settings, person, password, code)
    except NeurantError as error:
        return await _page(request, staff, person, part="two_step", error=error)
    response = RedirectResponse(f"{HERE}?done=two_step_off", 303)
    return _renewed(request, person, response, session)


@router.post(f"{HERE}/sessions")
async def end_session(
    request: Request, person: PagePerson, session_id: Field = ""
) -> RedirectResponse:
    """End one session, or without an id all other sessions of the person."""
    check_origin(request)
    pool = services_of(request).pool
    if not session_id:
        await service.end_other_sessions(pool, person)
        return RedirectResponse(f"{HERE}?done=sessions", 303)
    try:
        await service.end_session(pool, person, UUID(session_id))
    except ValueError:
        raise NotFoundError("not_found") from None
    return RedirectResponse(f"{HERE}?done=session", 303)
