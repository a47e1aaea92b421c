"""The names that the web process answers to.

A page of the internet can lead its own name to 127.0.0.1 once the browser has loaded it (DNS
rebinding); the browser then takes what answers there for that page's own, and lets it read it. The
Host header still carries the page's name, and that name is not ours: 421 (RFC 9110, 15.5.20).

Only a name of the public DNS can be led anywhere. Addresses, ``localhost`` and names without a dot
are always answered. What else is answered is ``NEURANT_ALLOWED_HOSTS`` and the host of
``NEURANT_PUBLIC_URL``. An installation that has a public URL, and is no demo, is reached from the
internet as it is: there any name is answered unless the setting names some, so that a platform with
several names goes on working.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from neurant.core.errors import WrongHostError
from neurant.core.http import send_problem
from neurant.core.settings import Settings

_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[^:\[\]]*)(?::\d{0,5})?")


def only_for_our_hosts(app: ASGIApp, settings: Settings) -> ASGIApp:
    """``app``, and 421 for a request whose Host header names somebody else."""
    is_ours = answered_names(settings)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not is_ours(Headers(scope=scope).get("host", "")):
            await send_problem(scope, send, WrongHostError("unknown_host"))
        else:
            await app(scope, receive, send)

    return answer


def answered_names(settings: Settings) -> Callable[[str], bool]:
    """Whether a Host header's value is one that these settings answer to."""
    allowed = {_plain(name) for name in settings.allowed_hosts.split(",") if name.strip()}
    public = urlsplit(settings.public_url or "").hostname
    if "*" in allowed or (not allowed and public and not settings.demo):
        return lambda _: True
    exact = {_plain(name) for name in (public or "", settings.host) if name} | allowed
    suffixes = tuple(name.removeprefix("*") for name in allowed if name.startswith("*."))

    def is_ours(host: str) -> bool:
        read = _HOST.fullmatch(host.strip())
        if read is None:
            return False
        name = _plain(read["name"])
        return name in exact or name.endswith(suffixes) or _cannot_be_led_here(name)

    return is_ours


def _plain(name: str) -> str:
    return name.strip().lower().removesuffix(".")


def _cannot_be_led_here(name: str) -> bool:
    """Whether nobody on the internet can have the name: an address, localhost, or without a dot."""
    if "." not in name.strip("[]") or name.endswith(".localhost"):
        return True  # also an absent Host (HTTP/1.0): a browser always sends one
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
