"""Device cookies: guesses by strangers do not lock a person out of a browser that they have used.

The protocol is OWASP's "Slow Down Online Guessing Attacks with Device Cookies". After a login the
browser holds a random number and, for each of its last people, a signature of number and login. The
throttle of a login with a valid signature counts the attempts with that number alone. The cookie
opens nothing: the password is still required. The server stores nothing of it, so nothing has to be
deleted.
"""

from __future__ import annotations

import hmac
import re

from fastapi import Request, Response

from neurant.auth.codes import keyed_digest, new_token
from neurant.auth.cookies import YEAR, keep_secret_cookie, read_cookie
from neurant.core.emails import looked_up
from neurant.core.services import services_of
from neurant.core.settings import Settings

COOKIE = "neurant_device"
_MAX_PEOPLE = 8  # in one browser; several people share the computer of a reception desk
_SIGN = re.compile(r"^[A-Za-z0-9_-]{43}(\.[0-9a-f]{64}){1,8}$")


def device_of(request: Request, email: str) -> str | None:
    """Return the number of the browser if this person has signed in there before, else None."""
    number, signatures = _read(request)
    signature = _signature(services_of(request).settings, number, email) if signatures else ""
    return number if any(hmac.compare_digest(signature, one) for one in signatures) else None


def keep_device(request: Request, response: Response, email: str) -> None:
    """Remember in the browser that this person has signed in there."""
    number, signatures = _read(request)
    mine = _signature(services_of(request).settings, number, email)
    kept = [mine, *(one for one in signatures if one != mine)][:_MAX_PEOPLE]
    keep_secret_cookie(request, response, COOKIE, ".".join([number, *kept]), YEAR)


def _read(request: Request) -> tuple[str, list[str]]:
    """Return the number and the signatures of the cookie; a new number if there is none."""
    value = read_cookie(request, COOKIE) or ""
    if not _SIGN.match(value):
        return new_token(), []
    number, *signatures = value.split(".")
    return number, signatures


def _signature(settings: Settings, number: str, email: str) -> str:
    return keyed_digest(settings, "device", looked_up(email).encode(), number).hex()
