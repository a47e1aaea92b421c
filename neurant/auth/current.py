"""The current caller: the session of a cookie or a bearer token, and the origin of the request."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated
from urllib.parse import quote, urlsplit

from fastapi import Depends, Request

from neurant.auth import denials, throttling
from neurant.auth.codes import digest
from neurant.auth.cookies import read_cookie
from neurant.auth.people import Person, SignedIn
from neurant.auth.sessions import ended_by_idleness, find_person, find_session
from neurant.core.db.tenancy import Trail
from neurant.core.errors import ForbiddenError, UnauthenticatedError
from neurant.core.services import services_of

COMPANIES = "/console/companies"
KEY_PREFIX = "na_key_"
_PASSIVE = "neurant-passive"
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class SignInNeededError(UnauthenticatedError):
    """A page was requested without a session: the browser goes to the login and returns
    afterwards.
    """

    def __init__(self, request: Request, *, idle: bool = False) -> None:
        expired = read_cookie(request) is not None
        super().__init__("accounts.session_expired" if expired else "accounts.session_missing")
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        back = target if request.method == "GET" else "/console/inbox"
        told = "&idle=1" if idle else "&expired=1" if expired else ""
        self.location = f"/login?next={quote(back)}{told}"


class CompanyNeededError(SignInNeededError):
    """A person who is in no company requested a page of a company."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.location = COMPANIES


def bearer(request: Request) -> str | None:
    """Return the token of an ``Authorization: Bearer`` header, or None."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def check_origin(request: Request) -> None:
    """Refuse an unsafe request that another site made a browser send (ForbiddenError).

    The check uses Fetch Metadata, else Origin. A request without either is not from a browser, so
    it carries no cookie without intent. Go's net/http.CrossOriginProtection works in the same way.
    The cookies also have SameSite=Lax.
    """
    if request.method in _SAFE_METHODS:
        return
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise ForbiddenError("accounts.cross_origin")
        return
    origin = request.headers.get("origin")
    if origin is None:
        return
    ours = {request.headers.get("host"), urlsplit(services_of(request).settings.base_url()).netloc}
    if urlsplit(origin).netloc not in ours:
        raise ForbiddenError("accounts.cross_origin")


def trail_of(request: Request, session_id: str | None = None) -> Trail:
    """Return the origin of a request, for the audit."""
    return Trail(
        session_id=session_id,
        request_id=request.scope.get("state", {}).get("request_id"),
        ip=request.client.host if request.client else None,
        user_agent=request.headers.get("user-agent"),
    )


def token_of(request: Request) -> str | None:
    """Return the token of the request's session from the Authorization header, else from the
    cookie.

    Raises ForbiddenError if another site made the browser send its cookie.
    """
    token = bearer(request)
    if token is None:
        check_origin(request)  # a browser sends a cookie without being asked to
        token = read_cookie(request)
    return token


def _is_passive(request: Request) -> bool:
    """Return whether a page sent the request by itself: a live stream, or a fetch that a stream
    caused.

    Such a request does not count as use of the session and does not prolong it.
    """
    return _PASSIVE in request.headers or request.url.path.endswith("/stream")


async def session_of(request: Request) -> SignedIn | None:
    """Return the session that the request carries, or None if there is no valid one."""
    token = token_of(request)
    if token is None:
        return None
    passive = _is_passive(request)
    found = await find_session(services_of(request).pool, digest(token), passive=passive)
    if found is None:
        return None
    staff = replace(found, trail=trail_of(request, str(found.session_id)))
    denials.note_person(request, staff)
    return staff


async def person_of(request: Request) -> Person | None:
    """Return the person of the request's session, in a company or in none; None without a
    session.
    """
    token = token_of(request)
    found = await find_person(services_of(request).pool, digest(token)) if token else None
    if found is None or token is None:
        return None
    trail = trail_of(request, str(found.session_id))
    person = Person(**asdict(found), digest=digest(token), trail=trail)
    denials.note_person(request, person)
    return person


async def page_staff(request: Request) -> SignedIn:
    """Return the member of staff who reads a page, and count the page for the company's limit.

    Raises SignInNeededError, CompanyNeededError, RateLimitedError.
    """
    staff = await session_of(request)
    if staff is None:
        if await person_of(request) is not None:
            raise CompanyNeededError(request)
        raise await _sign_in_needed(request)
    if not _is_redraw(request, staff):
        await throttling.take_page(request, staff.company_id)
    return staff


def _is_redraw(request: Request, staff: SignedIn) -> bool:
    """Return whether the script of the page fetches an update that the reader's live stream
    announced.
    """
    if request.method != "GET" or "hx-request" not in request.headers:
        return False
    streams = services_of(request).staff_streams
    return streams.take_redraw(staff.session_id)


async def page_person(request: Request) -> Person:
    """Return the person who reads a page outside of any company. Raises SignInNeededError."""
    person = await person_of(request)
    if person is None:
        raise await _sign_in_needed(request)
    if person.company_id is not None:
        await throttling.take_page(request, person.company_id)
    return person


async def _sign_in_needed(request: Request) -> SignInNeededError:
    token = token_of(request)
    idle = token is not None and await ended_by_idleness(services_of(request).pool, digest(token))
    return SignInNeededError(request, idle=idle)


async def api_person(request: Request) -> Person:
    """Return the person who calls an endpoint outside of any company. Raises
    UnauthenticatedError.
    """
    person = await person_of(request)
    if person is None:
        raise _refused(request)
    return person


def _refused(request: Request) -> UnauthenticatedError:
    token = token_of(request)
    if token and token.startswith(KEY_PREFIX):
        return UnauthenticatedError("tokens.no_key_here")
    return UnauthenticatedError("accounts.session_expired" if token else "accounts.session_missing")


PageStaff = Annotated[SignedIn, Depends(page_staff)]
PagePerson = Annotated[Person, Depends(page_person)]
ApiPerson = Annotated[Person, Depends(api_person)]
