"""Signing in and out, as a page and as JSON."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from neurant.accounts.current import COOKIE, bearer, check_origin, session_of, trail_of
from neurant.accounts.queries import delete_session
from neurant.accounts.schemas import Credentials, OpenedSession, SessionOut
from neurant.accounts.service import KEPT, digest, sign_in
from neurant.console.pages import PageRoute
from neurant.console.templating import LANGUAGE_COOKIE, reader_language, render, translator
from neurant.errors import NeurantError
from neurant.texts import LANGUAGES

HOME = "/console/inbox"
YEAR = 365 * 24 * 3600

pages = APIRouter(route_class=PageRoute)
router = APIRouter()
Field = Annotated[str, Form()]


def safe_next(target: str) -> str:
    """A path of ours; anything that could lead elsewhere becomes the inbox."""
    parts = urlsplit(target)
    inside = target.startswith("/") and not target.startswith(("//", "/\\"))
    plain = target.isprintable() and "\\" not in target
    return target if inside and plain and not parts.netloc and not parts.scheme else HOME


def _is_secure(request: Request) -> bool:
    base: str = request.app.state.settings.base_url()
    return request.url.scheme == "https" or base.startswith("https:")


def keep_cookie(
    request: Request, response: Response, name: str, value: str, age: int | None
) -> None:
    """Set a cookie of ours; ``age`` None lasts until the browser closes."""
    response.set_cookie(
        name,
        value,
        max_age=age,
        httponly=True,
        samesite="lax",
        secure=_is_secure(request),
        path="/",
    )


def _page(
    request: Request, target: str, email: str = "", error: NeurantError | None = None
) -> HTMLResponse:
    t = translator(reader_language(request))
    problem = None
    if error is not None:
        name = "slow_down" if error.status == 429 else "wrong"
        detail = t(f"console.login.{name}_hint", **error.params)
        problem = {"kind": "bad", "title": t(f"console.login.{name}"), "detail": detail}
    elif "expired" in request.query_params:
        problem = {
            "kind": "info",
            "title": t("console.login.expired"),
            "detail": t("console.login.expired_hint"),
        }
    status = error.status if error else 200
    return render(
        request, "login.html", status=status, problem=problem, email=email, next=safe_next(target)
    )


@pages.get("/login", response_class=HTMLResponse, include_in_schema=False)
async def login_page(request: Request, next: str = HOME) -> Response:
    """The form; whoever is signed in already goes on."""
    if await session_of(request) is not None:
        return RedirectResponse(safe_next(next), 303)
    response = _page(request, next)
    chosen = request.query_params.get("lang")
    if chosen in LANGUAGES:
        keep_cookie(request, response, LANGUAGE_COOKIE, str(chosen), YEAR)
    return response


async def _sign_in(request: Request, email: str, password: str, *, keep: bool) -> OpenedSession:
    return await sign_in(
        request.app.state.pool,
        email,
        password,
        trail=trail_of(request),
        keep=keep,
    )


@pages.post("/login", response_class=HTMLResponse, include_in_schema=False)
async def login(
    request: Request,
    email: Field = "",
    password: Field = "",
    keep: Field = "",
    next: Field = HOME,
) -> Response:
    """Sign in and go on to where the person was headed."""
    check_origin(request)
    try:
        session = await _sign_in(request, email, password, keep=keep == "yes")
    except NeurantError as error:
        if error.status not in (401, 429):
            raise
        return _page(request, next, email, error)
    response = RedirectResponse(safe_next(next), 303)
    age = int(KEPT.total_seconds()) if keep == "yes" else None
    keep_cookie(request, response, COOKIE, session.token, age)
    return response


@pages.post("/logout", include_in_schema=False)
async def logout(request: Request) -> RedirectResponse:
    """End the session here and in the database."""
    check_origin(request)
    token = request.cookies.get(COOKIE)
    if token:
        await delete_session(request.app.state.pool, digest(token), trail_of(request))
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE, path="/")
    return response


@router.post("/v1/session", status_code=201, tags=["session"])
async def open_api_session(request: Request, credentials: Credentials) -> SessionOut:
    """A bearer token for the API. It lives as long as a session that a browser keeps."""
    session = await _sign_in(request, credentials.email, credentials.password, keep=True)
    return SessionOut(token=session.token, expires_at=session.expires_at)


@router.delete("/v1/session", status_code=204, tags=["session"])
async def close_api_session(request: Request) -> None:
    """End the session of the bearer token."""
    token = bearer(request)
    if token:
        await delete_session(request.app.state.pool, digest(token), trail_of(request))


router.include_router(pages)
