"""The pages of signing in: password, second factor, and the choice of a company."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from neurant.accounts import factor_queries as factors
from neurant.accounts.queries import delete_session, list_companies, list_lost_companies
from neurant.accounts.schemas import OpenedSession
from neurant.accounts.service import (
    KEPT,
    SecondFactorNeededError,
    check_code,
    choose_company,
    open_session,
    sign_in,
)
from neurant.auth.codes import digest, new_token
from neurant.auth.cookies import (
    CHALLENGE_COOKIE,
    COOKIE,
    HOME,
    YEAR,
    drop_secret_cookie,
    keep_cookie,
    keep_secret_cookie,
    read_cookie,
    safe_next,
)
from neurant.auth.current import PagePerson, check_origin, person_of, session_of, trail_of
from neurant.auth.known_devices import device_of, keep_device
from neurant.console.page_route import PageRoute
from neurant.console.templating import render, translator
from neurant.core.errors import NeurantError, NotFoundError
from neurant.core.language import LANGUAGE_COOKIE, reader_language
from neurant.core.services import services_of
from neurant.texts import LANGUAGES, catalogue

ONBOARDING = "/onboarding"
_CHALLENGE_SECONDS = 600

router = APIRouter(route_class=PageRoute, include_in_schema=False)
Field = Annotated[str, Form()]


def enter(
    request: Request, session: OpenedSession, *, keep: bool, next: str = HOME
) -> RedirectResponse:
    """Redirect into the console with a new session; a person without a company to onboarding."""
    response = RedirectResponse(safe_next(next) if session.company_id else ONBOARDING, 303)
    age = int(KEPT.total_seconds()) if keep else None
    keep_secret_cookie(request, response, COOKIE, session.token, age)
    return response


def keep_language(request: Request, response: Response) -> Response:
    """Keep the language of ``?lang=`` in a cookie."""
    chosen = request.query_params.get("lang")
    if chosen in LANGUAGES:
        keep_cookie(request, response, LANGUAGE_COOKIE, str(chosen), YEAR)
    return response


def problem_of(request: Request, error: NeurantError) -> dict[str, str]:
    """Return the banner for an error: what happened, and what to do."""
    language = reader_language(request)
    known = catalogue(language)
    name = "slow_down" if error.status == 429 else error.code.rpartition(".")[2]
    title = known.get(f"accounts.problem.{name}", known["accounts.problem.other"])
    hint = known.get(f"accounts.problem.{name}_hint")
    return {"kind": "bad", "title": title, "detail": hint or error.detail(language)}


def _login_notice(request: Request) -> dict[str, str] | None:
    """Return the banner that says why the person has to sign in, or None."""
    t = translator(reader_language(request))
    for name in ("idle", "expired", "changed", "verified"):
        if name in request.query_params:
            kind = "info" if name in ("idle", "expired") else "ok"
            title, detail = t(f"accounts.notice.{name}"), t(f"accounts.notice.{name}_hint")
            return {"kind": kind, "title": title, "detail": detail}
    return None


def _login_page(
    request: Request, target: str, email: str = "", error: NeurantError | None = None
) -> HTMLResponse:
    return render(
        request,
        "login/login.html",
        error=error,
        problem=problem_of(request, error) if error else _login_notice(request),
        wrong=error is not None,
        email=email,
        next=safe_next(target),
    )


@router.get("/login", response_class=HTMLResponse)
async def login_page(request: Request, next: str = HOME) -> Response:
    """Show the sign-in form; redirect a person who is already signed in."""
    if await session_of(request) is not None:
        return RedirectResponse(safe_next(next), 303)
    return keep_language(request, _login_page(request, next))


@router.post("/login", response_class=HTMLResponse)
async def login(
    request: Request, email: Field = "", password: Field = "", keep: Field = "", next: Field = HOME
) -> Response:
    """Sign in, then redirect to ``next`` or to the second factor."""
    check_origin(request)
    kept, state = keep == "yes", services_of(request)
    try:
        session = await sign_in(
            state.pool,
            state.settings,
            email,
            password,
            trail=trail_of(request),
            keep=kept,
            device=device_of(request, email),
        )
    except SecondFactorNeededError as needed:
        token = new_token()
        await factors.open_challenge(state.pool, needed.login, digest(token), keep=kept)
        target = "/login/code" + (f"?next={safe_next(next)}" if safe_next(next) != HOME else "")
        response = RedirectResponse(target, 303)
        keep_secret_cookie(request, response, CHALLENGE_COOKIE, token, _CHALLENGE_SECONDS)
        return response
    except NeurantError as error:
        if error.status not in (401, 429):
            raise
        return _login_page(request, next, email, error)
    response = enter(request, session, keep=kept, next=next)
    keep_device(request, response, email)
    return response


async def _challenge(request: Request) -> factors.Challenge | None:
    token = read_cookie(request, CHALLENGE_COOKIE)
    return await factors.find_challenge(services_of(request).pool, digest(token)) if token else None


def _code_page(request: Request, target: str, error: NeurantError | None = None) -> Response:
    return render(
        request,
        "login/code.html",
        error=error,
        problem=problem_of(request, error) if error else None,
        next=safe_next(target),
    )


@router.get("/login/code", response_class=HTMLResponse)
async def code_page(request: Request, next: str = HOME) -> Response:
    """Show the form for the code; redirect to the login if no sign-in has begun."""
    if await _challenge(request) is None:
        return RedirectResponse("/login?expired=1", 303)
    return keep_language(request, _code_page(request, next))


@router.post("/login/code", response_class=HTMLResponse)
async def login_code(request: Request, code: Field = "", next: Field = HOME) -> Response:
    """Check the second factor and sign in."""
    check_origin(request)
    state, trail = services_of(request), trail_of(request)
    token, challenge = read_cookie(request, CHALLENGE_COOKIE), await _challenge(request)
    if challenge is None or token is None:
        return RedirectResponse("/login?expired=1", 303)
    login = challenge.auth_user_id
    try:
        device = device_of(request, challenge.email)
        await check_code(
            state.pool, state.settings, login, challenge.email, code, trail=trail, device=device
        )
    except NeurantError as error:
        if error.status not in (401, 429):
            raise
        return _code_page(request, next, error)
    async with state.pool.connection() as connection, connection.transaction():
        if not await factors.close_challenge(connection, digest(token)):
            return RedirectResponse("/login?expired=1", 303)
        session = await open_session(connection, login, trail=trail, keep=challenge.is_kept)
    response = enter(request, session, keep=challenge.is_kept, next=next)
    keep_device(request, response, challenge.email)
    drop_secret_cookie(request, response, CHALLENGE_COOKIE)
    return response


@router.post("/logout")
async def logout(request: Request) -> RedirectResponse:
    """End the session in the browser and in the database."""
    check_origin(request)
    token = read_cookie(request)
    if token:
        await delete_session(services_of(request).pool, digest(token), trail_of(request))
    response = RedirectResponse("/login", 303)
    # The browser's storage holds the person's drafts, so it is cleared; the cache holds no data.
    response.headers["clear-site-data"] = '"storage"'
    drop_secret_cookie(request, response, COOKIE)
    return response


@router.get("/console/companies", response_class=HTMLResponse)
async def companies_page(request: Request, person: PagePerson) -> Response:
    """Show a person's companies; without any, say that the access ended, or go to onboarding."""
    pool = services_of(request).pool
    companies = await list_companies(pool, person.digest)
    if not companies:
        lost = await list_lost_companies(pool, person.digest)
        if not lost:
            return RedirectResponse(f"{ONBOARDING}/company", 303)
        page = render(request, "account/access_ended.html", person=person, lost=lost)
        return keep_language(request, page)
    return keep_language(
        request, render(request, "account/companies.html", person=person, companies=companies)
    )


@router.post("/console/companies")
async def enter_page(request: Request, company_id: Field = "") -> Response:
    """Switch to another company."""
    check_origin(request)
    person = await person_of(request)
    if person is None:
        return RedirectResponse("/login?expired=1", 303)
    try:
        chosen = UUID(company_id)
    except ValueError:
        raise NotFoundError("not_found") from None
    await choose_company(services_of(request).pool, person.digest, chosen, person.trail)
    return RedirectResponse(HOME, 303)
