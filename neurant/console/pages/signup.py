"""The pages of signing up: the form, and the code or link that confirms the address."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError

from neurant.accounts.signup import queries, service
from neurant.accounts.signup.schemas import NewAccount, StateOut
from neurant.auth.codes import digest
from neurant.auth.cookies import PENDING_COOKIE, drop_secret_cookie, keep_secret_cookie, read_cookie
from neurant.auth.current import check_origin, trail_of
from neurant.auth.known_devices import keep_device
from neurant.console.page_route import PageRoute
from neurant.console.pages.login import enter, keep_language, problem_of
from neurant.console.templating import render
from neurant.core.errors import BadInputError, NeurantError
from neurant.core.language import reader_language
from neurant.core.services import services_of

_DAY = 24 * 3600
_NO_REFERRER = {"Referrer-Policy": "no-referrer"}  # the address contains a token

_TYPED = ("first_name", "last_name", "email", "terms")

router = APIRouter(route_class=PageRoute, include_in_schema=False)
Field = Annotated[str, Form()]


@router.get("/signup", response_class=HTMLResponse)
async def sign_up_page(request: Request) -> Response:
    """Show the sign-up form."""
    return keep_language(request, _form(request, dict.fromkeys(_TYPED, "")))


def _form(
    request: Request, typed: dict[str, str], error: NeurantError | None = None
) -> HTMLResponse:
    return render(
        request,
        "login/signup.html",
        error=error,
        typed=typed,
        settings=services_of(request).settings,
        problem=problem_of(request, error) if error else None,
        wrong=error.code.rpartition(".")[2] if error else "",
    )


@router.post("/signup", response_class=HTMLResponse)
async def sign_up_form(
    request: Request,
    first_name: Field = "",
    last_name: Field = "",
    email: Field = "",
    password: Field = "",
    terms: Field = "",
) -> Response:
    """Begin a sign-up and redirect to the form for the code."""
    check_origin(request)
    typed = {"first_name": first_name, "last_name": last_name, "email": email, "terms": terms}
    state = services_of(request)
    try:
        try:
            new = NewAccount(
                first_name=first_name,
                last_name=last_name,
                email=email,
                password=password,
                accept_terms=terms == "yes",
            )
        except ValidationError as wrong:  # only a length can be invalid here
            name = str(wrong.errors()[0]["loc"][0])
            raise BadInputError("accounts.field_too_long", field=name) from None
        begun = await service.begin(
            state.pool,
            state.settings,
            new,
            trail=trail_of(request),
            language=reader_language(request),
        )
    except NeurantError as error:
        if error.status not in (422, 429):
            raise
        return _form(request, typed, error)
    response = RedirectResponse("/verify", 303)
    keep_secret_cookie(request, response, PENDING_COOKIE, begun.token, _DAY)
    return response


def _verify_page(
    request: Request,
    found: queries.SignUp,
    *,
    link: str = "",
    error: NeurantError | None = None,
    resent: bool = False,
) -> HTMLResponse:
    page = render(
        request,
        "login/verify_link.html" if link else "login/verify.html",
        error=error,
        email=found.email,
        first_name=found.first_name,
        link=link,
        is_own=found.is_own,
        problem=problem_of(request, error) if error else None,
        resent=resent,
        resend_after=service.RESEND_AFTER,
    )
    page.headers.update(_NO_REFERRER)
    return page


@router.get("/verify", response_class=HTMLResponse)
async def verify_page(request: Request, link: str = "") -> Response:
    """Show the form for the code; with ``link``, a button that confirms the address.

    The button is necessary because mail scanners open every link and must not sign anyone up.
    """
    token = read_cookie(request, PENDING_COOKIE)
    found = await queries.find_sign_up(
        services_of(request).pool, digest(token) if token else None, digest(link) if link else None
    )
    if found is None and not link:
        return RedirectResponse("/signup", 303)
    if found is None or found.state != "pending":
        return await _over(request, found, link)
    return keep_language(
        request, _verify_page(request, found, link=link, resent="resent" in request.query_params)
    )


async def _over(request: Request, found: queries.SignUp | None, link: str) -> Response:
    """Answer for a finished or expired sign-up: sign in the browser that began it, else say so."""
    if found is not None and found.state == "verified":
        if not link:
            return await _prove(request, found)
        return RedirectResponse("/login?verified=1", 303)
    page = render(request, "login/verify_over.html", status=410, expired=found is not None)
    page.headers.update(_NO_REFERRER)
    return page


async def _prove(
    request: Request,
    found: queries.SignUp,
    *,
    link: str = "",
    code: str | None = None,
    password: str | None = None,
) -> Response:
    state = services_of(request)
    try:
        opened = await service.prove(
            state.pool,
            state.settings,
            trail=trail_of(request),
            token=read_cookie(request, PENDING_COOKIE),
            link=link or None,
            code=code,
            password=password,
        )
    except NeurantError as error:
        if error.code in ("accounts.not_verified_yet", "accounts.verified_before"):
            return RedirectResponse("/login?verified=1", 303)
        if error.status not in (403, 409, 410, 422, 429):
            raise
        return _verify_page(request, found, link=link, error=error)
    response = enter(request, opened, keep=False)
    keep_device(request, response, found.email)
    drop_secret_cookie(request, response, PENDING_COOKIE)
    return response


@router.post("/verify", response_class=HTMLResponse)
async def verify_form(
    request: Request, link: Field = "", code: Field = "", password: Field = ""
) -> Response:
    """Confirm the address with the link or the code."""
    check_origin(request)
    token = read_cookie(request, PENDING_COOKIE)
    found = await queries.find_sign_up(
        services_of(request).pool, digest(token) if token else None, digest(link) if link else None
    )
    if found is None or (link and found.state != "pending"):
        return await _over(request, found, link)
    return await _prove(
        request,
        found,
        link=link,
        code=None if link else code,
        password=password if password or not found.is_own else None,
    )


@router.post("/verify/resend", response_class=HTMLResponse)
async def resend_form(request: Request) -> Response:
    """Send another mail."""
    check_origin(request)
    token, state = read_cookie(request, PENDING_COOKIE), services_of(request)
    if token is None:
        return RedirectResponse("/signup", 303)
    try:
        await service.resend(state.pool, state.settings, token, language=reader_language(request))
    except NeurantError as error:
        found = await queries.find_sign_up(state.pool, digest(token), None)
        if error.status not in (410, 429):
            raise
        if found is None or found.state != "pending":
            return await _over(request, found, "")
        return _verify_page(request, found, error=error)
    return RedirectResponse("/verify?resent=1", 303)


@router.get("/verify/state")
async def page_state(request: Request) -> StateOut:
    """Return the state of the sign-up, for which the page asks every two seconds."""
    token = read_cookie(request, PENDING_COOKIE) or ""
    found = await queries.find_sign_up(services_of(request).pool, digest(token), None)
    return StateOut.model_validate({"state": found.state if found else "expired"})
