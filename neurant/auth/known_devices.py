"""A browser in which somebody signed in before: no stranger's guesses keep that person out of it.

The protocol is OWASP's "Slow Down Online Guessing Attacks with Device Cookies": after a login the
browser holds a random number and, for each of its last people, our signature of number and login.
Who shows one is braked by the tries of that number alone. It opens nothing: the password is asked
for as ever. Nothing of it is stored, so it needs no forgetting.
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
_MOST_PEOPLE = 8  # of one browser: a reception desk has shifts
_SIGN = re.compile(r"^[A-Za-z0-9_-]{43}(\.[0-9a-f]{64}){1,8}$")


def device_of(request: Request, email: str) -> str | None:
    """The number of the browser, if this person signed in there before."""
    number, signatures = _read(request)
    signature = _signature(services_of(request).settings, number, email) if signatures else ""
    return number if any(hmac.compare_digest(signature, one) for one in signatures) else None


def keep_device(request: Request, response: Response, email: str) -> None:
    """Remember that this person signed in in this browser."""
    number, signatures = _read(request)
    mine = _signature(services_of(request).settings, number, email)
    kept = [mine, *(one for one in signatures if one != mine)][:_MOST_PEOPLE]
    keep_secret_cookie(request, response, COOKIE, ".".join([number, *kept]), YEAR)


def _read(request: Request) -> tuple[str, list[str]]:
    """The number and the signatures; a new number where there is none."""
    value = read_cookie(request, COOKIE) or ""
    if not _SIGN.match(value):
        return new_token(), []
    number, *signatures = value.split(".")
    return number, signatures


def _signature(settings: Settings, number: str, email: str) -> str:
    return keyed_digest(settings, "device", looked_up(email).encode(), number).hex()
