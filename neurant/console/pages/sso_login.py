"""The pages of signing in through a company's identity provider.

A link leads to the provider, not a form: the content security policy allows forms only to our
own addresses, and browsers apply it to redirects after a form, too.
"""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

from neurant.accounts.service import KEPT
from neurant.accounts.sso.provider import Providers
from neurant.accounts.sso.service import begin, finish, offer_name
from neurant.auth.cookies import (
    COOKIE,
    HOME,
    drop_secret_cookie,
    keep_secret_cookie,
    read_cookie,
    safe_next,
)
from neurant.auth.current import trail_of
from neurant.console.page_route import PageRoute
from neurant.console.templating import render, translator
from neurant.core.errors import NeurantError
from neurant.core.language import reader_language
from neurant.core.logs import get_logger
from neurant.core.services import services_of

router = APIRouter(route_class=PageRoute, include_in_schema=False)
Text = Annotated[str, Query(max_length=2000)]
_MINUTES = 10
_STATE_SHOWN = 16  # characters of the state in the cookie's name: each tab has its own
log = get_logger(__name__)


def _cookie(state: str) -> str:
    shown = "".join(one for one in state[:_STATE_SHOWN] if one.isascii() and one.isalnum())
    return f"neurant_sso_{shown}"


def _page(
    request: Request,
    *,
    target: str,
    email: str = "",
    name: str | None = None,
    keep: str = "",
    error: NeurantError | None = None,
) -> HTMLResponse:
    t = translator(reader_language(request))
    problem = None
    if error is not None:
        detail = error.detail(reader_language(request))
        problem = {"kind": "bad", "title": t("sso.not_in"), "detail": detail}
    return render(
        request,
        "sso/login.html",
        error=error,
        problem=problem,
        email=email,
        name=name,
        keep=keep,
        next=safe_next(target),
    )


@router.get("/login/sso", response_class=HTMLResponse)
async def sso_page(
    request: Request, email: Text = "", next: Text = HOME, keep: Text = ""
) -> Response:
    """Ask for the mail address; if it has a provider, show the link to it."""
    if not email:
        return _page(request, target=next)
    name = await offer_name(services_of(request).pool, email)
    if name is None:
        error = NeurantError("sso.no_connection", domain=email.rpartition("@")[2][:100])
        error.status = 404
        return _page(request, target=next, email=email, error=error)
    return _page(request, target=next, email=email, name=name, keep=keep)


@router.get("/login/sso/offer")
async def sso_offer(request: Request, email: Text = "") -> JSONResponse:
    """Return the name of the address's provider, or null, for the login page's script."""
    return JSONResponse({"name": await offer_name(services_of(request).pool, email)})


@router.get("/login/sso/start")
async def sso_start(
    request: Request, email: Text = "", next: Text = HOME, keep: Text = ""
) -> Response:
    """Redirect to the provider of the mail address; 429 after too many attempts of a client."""
    state = services_of(request)
    try:
        departure = await begin(
            state.pool,
            state.get(Providers),
            state.settings,
            email,
            next_path=safe_next(next),
            is_kept=keep == "yes",
            trail=trail_of(request),
        )
    except NeurantError as error:
        _note(error)
        return _page(request, target=next, email=email, error=error)
    response = RedirectResponse(departure.url, 303)
    name = _cookie(departure.state)
    keep_secret_cookie(request, response, name, departure.secret, _MINUTES * 60)
    return response


@router.get("/login/sso/callback/{company_id}")
async def sso_callback(request: Request, company_id: UUID) -> Response:
    """Finish the sign-in with the provider's answer."""
    state = services_of(request)
    name = _cookie(request.query_params.get("state", ""))
    try:
        arrival = await finish(
            state.pool,
            state.get(Providers),
            state.settings,
            company_id,
            request.query_params,
            read_cookie(request, name) or "",
            trail_of(request),
        )
    except NeurantError as error:
        _note(error)
        return _page(request, target=HOME, error=error)
    response = RedirectResponse(safe_next(arrival.next_path), 303)
    drop_secret_cookie(request, response, name)
    # The browser does not become a known device (accounts/known_devices.py): the session is limited
    # to one company, whose provider must not exempt anyone from the login's throttle.
    age = int(KEPT.total_seconds()) if arrival.is_kept else None
    keep_secret_cookie(request, response, COOKIE, arrival.token, age)
    return response


def _note(error: NeurantError) -> None:
    log.info("sso_not_in", code=error.code)
