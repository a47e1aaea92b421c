"""The cookies of the product, and the safe targets of a redirect."""

from __future__ import annotations

from urllib.parse import urlsplit

from fastapi import Request, Response

from neurant.core.services import services_of

COOKIE = "neurant_session"
PENDING_COOKIE = "neurant_sign_up"
CHALLENGE_COOKIE = "neurant_challenge"
HOME = "/console/inbox"
YEAR = 365 * 24 * 3600


def is_secure(request: Request) -> bool:
    """Return whether the browser reaches the server by https, perhaps through a proxy."""
    base: str = services_of(request).settings.base_url()
    return request.url.scheme == "https" or base.startswith("https:")


def cookie_name(request: Request, name: str) -> str:
    """Return ``name`` as the browser stores it.

    With https the name starts with ``__Host-``, so that no other site of the domain can set such a
    cookie (draft-ietf-httpbis-rfc6265bis, 4.1.3.2). Browsers accept such a name over https only.
    """
    return f"__Host-{name}" if is_secure(request) else name


def read_cookie(request: Request, name: str = COOKIE) -> str | None:
    """Return the value of a cookie that carries a secret, or None."""
    return request.cookies.get(cookie_name(request, name)) or None


def keep_secret_cookie(
    request: Request, response: Response, name: str, value: str, age: int | None
) -> None:
    """Set a cookie that carries a secret for ``age`` seconds, or until the browser closes
    (None).
    """
    keep_cookie(request, response, cookie_name(request, name), value, age)


def drop_secret_cookie(request: Request, response: Response, name: str) -> None:
    """Delete a cookie that carries a secret."""
    response.delete_cookie(
        cookie_name(request, name), path="/", secure=is_secure(request), httponly=True
    )


def keep_cookie(
    request: Request, response: Response, name: str, value: str, age: int | None
) -> None:
    """Set a cookie for ``age`` seconds, or until the browser closes (None)."""
    response.set_cookie(
        name,
        value,
        max_age=age,
        httponly=True,
        samesite="lax",
        secure=is_secure(request),
        path="/",
    )


def safe_next(target: str) -> str:
    """Return ``target`` if it is a path of this server, else the path of the inbox."""
    try:
        parts = urlsplit(target)
    except ValueError:  # urlsplit refuses "//["
        return HOME
    inside = target.startswith("/") and not target.startswith(("//", "/\\"))
    plain = target.isprintable() and "\\" not in target
    return target if inside and plain and not parts.netloc and not parts.scheme else HOME
