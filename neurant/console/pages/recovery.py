"""The pages of a forgotten password: request a link, and set a new password."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from neurant.accounts.recovery import queries, service
from neurant.auth.codes import digest
from neurant.auth.current import check_origin, trail_of
from neurant.auth.known_devices import keep_device
from neurant.console.page_route import PageRoute
from neurant.console.pages.login import keep_language, problem_of
from neurant.console.templating import render
from neurant.core.errors import NeurantError
from neurant.core.language import reader_language
from neurant.core.services import services_of

_NO_REFERRER = {"Referrer-Policy": "no-referrer"}  # the address contains a token

router = APIRouter(route_class=PageRoute, include_in_schema=False)
Field = Annotated[str, Form()]


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


@router.get("/forgot", response_class=HTMLResponse)
async def forgot_page(request: Request) -> Response:
    """Show the form that requests a link."""
    return keep_language(request, _forgot(request))


@router.post("/forgot", response_class=HTMLResponse)
async def forgot_form(request: Request, email: Field = "") -> Response:
    """Request the mail; the answer is the same with and without an account."""
    check_origin(request)
    state = services_of(request)
    try:
        await service.ask(
            state.pool,
            state.settings,
            email,
            trail=trail_of(request),
            language=reader_language(request),
        )
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


@router.get("/reset", response_class=HTMLResponse)
async def reset_page(request: Request, link: str = "") -> Response:
    """Show the form of a mailed link; an expired or used link shows an error at once."""
    found = await queries.find_reset(services_of(request).pool, digest(link))
    if found is None or found.state != "open":
        error = service.refusal(found.state if found else "unknown")
        return keep_language(request, _reset(request, link, error=error))
    return keep_language(request, _reset(request, link, email=found.email))


@router.post("/reset", response_class=HTMLResponse)
async def reset_form(request: Request, link: Field = "", password: Field = "") -> Response:
    """Set the password and redirect to the login."""
    check_origin(request)
    state = services_of(request)
    found = await queries.find_reset(state.pool, digest(link))
    try:
        await service.set_password(
            state.pool,
            state.settings,
            link,
            password,
            trail=trail_of(request),
            language=reader_language(request),
        )
    except NeurantError as error:
        if error.status not in (404, 410, 422):
            raise
        return _reset(request, link, email=found.email if found else "", error=error)
    response = RedirectResponse("/login?changed=1", 303)
    if found is not None:  # the reader of the mailbox is known, so the device is, too
        keep_device(request, response, found.email)
    return response
