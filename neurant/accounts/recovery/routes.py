"""A forgotten password, as JSON and as pages."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import Field as Bounded

from neurant.accounts.codes import digest
from neurant.accounts.current import check_origin, trail_of
from neurant.accounts.known_devices import keep_device
from neurant.accounts.pages import keep_language, problem_of
from neurant.accounts.recovery import queries, service
from neurant.accounts.schemas import LONGEST_PASSWORD, Body
from neurant.api.route import api_router
from neurant.api.texts import EmailText, PasswordText, Text
from neurant.console.pages import PageRoute
from neurant.console.templating import reader_language, render
from neurant.errors import NeurantError

_NO_REFERRER = {"Referrer-Policy": "no-referrer"}  # the address holds a token

router = APIRouter()
api = api_router("accounts", "/v1/password-resets")
pages = APIRouter(route_class=PageRoute, include_in_schema=False)
Field = Annotated[str, Form()]


class Asked(Body):
    """Whose password is forgotten."""

    email: EmailText = Bounded(max_length=320)


class Reset(Body):
    """The token of the mailed link, and the new password."""

    token: Text = Bounded(max_length=200)
    password: PasswordText = Bounded(max_length=LONGEST_PASSWORD)


@api.post("", status_code=202)
async def ask(request: Request, asked: Asked) -> None:
    """A link by mail (one hour, once). The answer is the same where there is no such account."""
    await _ask(request, asked.email)


@api.post("/confirm", status_code=204)
async def confirm(request: Request, reset: Reset) -> None:
    """Set the password. Every session of the person ends; sign in with the new one."""
    await _set(request, reset.token, reset.password)


async def _ask(request: Request, email: str) -> None:
    state = request.app.state
    await service.ask(
        state.pool,
        state.settings,
        email,
        trail=trail_of(request),
        language=reader_language(request),
    )


async def _set(request: Request, token: str, password: str) -> None:
    state = request.app.state
    await service.set_password(
        state.pool,
        state.settings,
        token,
        password,
        trail=trail_of(request),
        language=reader_language(request),
    )


def _forgot(
    request: Request, *, email: str = "", sent: bool = False, error: NeurantError | None = None
) -> HTMLResponse:
    return render(
        request,
        "login/forgot.html",
        error=error,
        problem=problem_of(request, error) if error else None,
        email=email,
        sent=sent,
    )


@pages.get("/forgot", response_class=HTMLResponse)
async def forgot_page(request: Request) -> Response:
    """The form."""
    return keep_language(request, _forgot(request))


@pages.post("/forgot", response_class=HTMLResponse)
async def forgot_form(request: Request, email: Field = "") -> Response:
    """Ask for the mail."""
    check_origin(request)
    try:
        await _ask(request, email)
    except NeurantError as error:
        if error.status not in (422, 429):
            raise
        return _forgot(request, email=email, error=error)
    return _forgot(request, email=email, sent=True)


def _reset(
    request: Request, link: str, *, email: str = "", error: NeurantError | None = None
) -> Response:
    over = error is not None and error.status in (404, 410)
    page = render(
        request,
        "login/reset.html",
        error=error,
        problem=problem_of(request, error) if error else None,
        link=link,
        email=email,
        over=over,
    )
    page.headers.update(_NO_REFERRER)
    return page


@pages.get("/reset", response_class=HTMLResponse)
async def reset_page(request: Request, link: str = "") -> Response:
    """The form behind a mailed link; a link that is over is told so at once."""
    found = await queries.find_reset(request.app.state.pool, digest(link))
    if found is None or found.state != "open":
        error = service.refusal(found.state if found else "unknown")
        return keep_language(request, _reset(request, link, error=error))
    return keep_language(request, _reset(request, link, email=found.email))


@pages.post("/reset", response_class=HTMLResponse)
async def reset_form(request: Request, link: Field = "", password: Field = "") -> Response:
    """Set the password and go to the login."""
    check_origin(request)
    found = await queries.find_reset(request.app.state.pool, digest(link))
    try:
        await _set(request, link, password)
    except NeurantError as error:
        if error.status not in (404, 410, 422):
            raise
        return _reset(request, link, email=found.email if found else "", error=error)
    response = RedirectResponse("/login?changed=1", 303)
    if found is not None:  # who reads the mailbox is no stranger
        keep_device(request, response, found.email)
    return response


router.include_router(api)
router.include_router(pages)
