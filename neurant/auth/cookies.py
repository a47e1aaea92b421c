"""Cookies of ours, and where a browser may be led."""

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
    """Does the browser reach us by https, perhaps through a proxy?"""
    base: str = services_of(request).settings.base_url()
    return request.url.scheme == "https" or base.startswith("https:")


def cookie_name(request: Request, name: str) -> str:
    """``name`` as the browser keeps it.

    With https it starts with ``__Host-``, so that no other site of the domain can plant one
    (draft-ietf-httpbis-rfc6265bis, 4.1.3.2); a browser takes such a name over https only.
    """
    return f"__Host-{name}" if is_secure(request) else name


def read_cookie(request: Request, name: str = COOKIE) -> str | None:
    """The value of a cookie that carries a secret of ours."""
    return request.cookies.get(cookie_name(request, name)) or None


def keep_secret_cookie(
    request: Request, response: Response, name: str, value: str, age: int | None
) -> None:
    """Set a cookie that carries a secret; ``age`` None lasts until the browser closes."""
    keep_cookie(request, response, cookie_name(request, name), value, age)


def drop_secret_cookie(request: Request, response: Response, name: str) -> None:
    """Take such a cookie away again."""
    response.delete_cookie(
        cookie_name(request, name), path="/", secure=is_secure(request), httponly=True
    )


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
        secure=is_secure(request),
        path="/",
    )


def safe_next(target: str) -> str:
    """A path of ours; anything that could lead elsewhere becomes the inbox."""
    try:
        parts = urlsplit(target)
    except ValueError:  # "//[" is no address at all
        return HOME
    inside = target.startswith("/") and not target.startswith(("//", "/\\"))
    plain = target.isprintable() and "\\" not in target
    return target if inside and plain and not parts.netloc and not parts.scheme else HOME
