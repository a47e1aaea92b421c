"""The host names that the web process accepts.

A web page can change its own name's address to 127.0.0.1 after the browser has loaded it (DNS
rebinding). The browser then treats our answers as that page's own and lets it read them. The Host
header still has the page's name, which is not ours, so the answer is 421 (RFC 9110, 15.5.20).

Only a name of the public DNS can be pointed to any address. Addresses, ``localhost`` and names
without a dot are therefore always accepted, and so are the names of ``NEURANT_ALLOWED_HOSTS`` and
the host of ``NEURANT_PUBLIC_URL``. An installation that has a public URL and is no demo is already
reachable from the internet: it accepts any name unless the setting lists some, so that a platform
with several names continues to work.
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
    """Wrap ``app`` to answer 421 to a request whose Host header is not accepted."""
    is_ours = answered_names(settings)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not is_ours(Headers(scope=scope).get("host", "")):
            await send_problem(scope, send, WrongHostError("unknown_host"))
        else:
            await app(scope, receive, send)

    return answer


def answered_names(settings: Settings) -> Callable[[str], bool]:
    """Return a predicate for the values of a Host header that these settings accept."""
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
    """Return whether the name is outside the public DNS.

    Such a name is an address, ``localhost`` or a name without a dot.
    """
    if "." not in name.strip("[]") or name.endswith(".localhost"):
        return True  # an absent Host (HTTP/1.0) is accepted, because a browser always sends one
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
