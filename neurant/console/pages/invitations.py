"""The page of an invitation link: a new person creates an account, a known person signs in.

The token follows the ``#`` of the link, so no server log and no Referer contains it. A script
submits it once; after that a cookie of this page holds it.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError

from neurant.accounts.queries import delete_session
from neurant.accounts.service import choose_company, open_session, plain_trail
from neurant.auth.cookies import COOKIE, HOME, drop_secret_cookie, keep_secret_cookie, read_cookie
from neurant.auth.current import check_origin, person_of, trail_of
from neurant.auth.known_devices import keep_device
from neurant.console.page_route import PageRoute
from neurant.console.pages.login import enter
from neurant.console.templating import render, translator
from neurant.core.errors import BadInputError, GoneError, NeurantError, NotFoundError
from neurant.core.language import reader_language
from neurant.core.services import services_of
from neurant.invitations import unsubscribe
from neurant.invitations.schemas import AcceptIn
from neurant.invitations.service import Accepted, accept_as_caller, day_of, look

PAGE = "/invitation"
_TOKEN = "neurant_invitation"  # noqa: S105 - a cookie's name
_AN_HOUR = 3600
_MAX_TOKEN_LENGTH = 200

router = APIRouter(prefix=PAGE, route_class=PageRoute, include_in_schema=False)
Text = Annotated[str, Form()]


async def _page(
    request: Request,
    error: NeurantError | None = None,
    typed: dict[str, str] | None = None,
) -> Response:
    language = reader_language(request)
    token = read_cookie(request, _TOKEN) or ""
    seen, over = None, None
    if token:
        try:
            seen = await look(services_of(request).pool, token)
        except (NotFoundError, GoneError) as gone:
            over = gone
    person = await person_of(request) if seen else None
    problem = None
    if error is not None and over is None:
        t = translator(language)
        problem = {"title": t("team.join.failed"), "detail": error.detail(language)}
    return render(
        request, "invitations/invitation.html", error=error or over, seen=seen, person=person,
        over=over.detail(language) if over else None, problem=problem,
        until=day_of(seen.expires_at, seen.timezone, language) if seen else None,
        typed=typed or {"first_name": "", "last_name": "", "terms": ""},
        settings=services_of(request).settings, wrong=error.code if error else "",
    )  # fmt: skip


@router.get("", response_class=HTMLResponse)
async def invitation_page(request: Request) -> Response:
    """Show the invitation of the link that was opened last."""
    return await _page(request)


@router.post("/open")
async def open_invitation(request: Request, token: Text = "") -> Response:
    """Store the token of the link, or of the pasted text, in a cookie of this page."""
    check_origin(request)
    plain = token.strip().rpartition("#")[2][:_MAX_TOKEN_LENGTH]
    response = RedirectResponse(PAGE, 303)
    keep_secret_cookie(request, response, _TOKEN, plain if plain.isascii() else "", _AN_HOUR)
    return response


@router.post("", response_class=HTMLResponse)
async def join(
    request: Request,
    first_name: Text = "",
    last_name: Text = "",
    password: Text = "",
    terms: Text = "",
) -> Response:
    """Accept the invitation as the signed-in person, or as a new person, who is then signed in."""
    check_origin(request)
    typed = {"first_name": first_name, "last_name": last_name, "terms": terms}
    given = {"first_name": first_name.strip() or None, "last_name": last_name.strip() or None}
    try:
        asked = AcceptIn.model_validate(
            {
                "token": read_cookie(request, _TOKEN) or "",
                "password": password or None,
                "accept_terms": terms == "yes",
                **given,
            }
        )
        accepted = await accept_as_caller(request, asked)
    except ValidationError:
        return await _page(request, BadInputError("invitations.name_and_password"), typed)
    except NeurantError as error:
        return await _page(request, error, typed)
    response = await _entered(request, accepted)
    keep_device(request, response, accepted.email)
    drop_secret_cookie(request, response, _TOKEN)
    return response


async def _entered(request: Request, accepted: Accepted) -> Response:
    """Redirect into the joined company, with the existing session or with a new one."""
    pool, person = services_of(request).pool, await person_of(request)
    if person is not None:
        await choose_company(pool, person.digest, accepted.company_id, person.trail)
        return RedirectResponse(HOME, 303)
    async with pool.connection() as connection, connection.transaction():
        session = await open_session(
            connection,
            accepted.auth_user_id,
            trail=trail_of(request),
            keep=False,
            company_id=accepted.company_id,
        )
    return enter(request, session, keep=False)


@router.get("/refuse", response_class=HTMLResponse)
async def refuse_page(request: Request, of: str = "", notice: str = "") -> Response:
    """Ask the reader of a mailed link to confirm that they want no more invitations."""
    return _refuse_page(request, of, notice)


@router.post("/refuse", response_class=HTMLResponse)
async def refuse_invitations(request: Request, of: Text = "", wants: Text = "") -> Response:
    """Refuse further invitations to the link's address, or allow them again."""
    check_origin(request)
    state = services_of(request)
    try:
        await unsubscribe.refuse(state.pool, state.settings, of, wants=wants == "yes")
    except NotFoundError:
        return _refuse_page(request, of, "")
    notice = "back" if wants == "yes" else "refused"
    return RedirectResponse(f"{unsubscribe.PAGE}?{urlencode({'of': of, 'notice': notice})}", 303)


def _refuse_page(request: Request, token: str, notice: str) -> Response:
    problem, wrong = None, None
    try:
        unsubscribe.read_token(services_of(request).settings, token)
    except NotFoundError as error:
        problem, wrong = error.detail(reader_language(request)), error
    return render(
        request,
        "invitations/refuse.html",
        error=wrong,
        token=token,
        notice=notice,
        problem=problem,
    )


@router.post("/leave")
async def leave(request: Request) -> Response:
    """End the session and come back to the invitation."""
    check_origin(request)
    person = await person_of(request)
    if person is not None:
        await delete_session(services_of(request).pool, person.digest, plain_trail(person.trail))
    response = RedirectResponse(PAGE, 303)
    drop_secret_cookie(request, response, COOKIE)
    return response
