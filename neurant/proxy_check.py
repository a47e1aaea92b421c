"""``neurant proxy-check``: does the reverse proxy tell the client's address? Can it be forged?

The command sends two requests through the public address, one of them with a forged
``X-Forwarded-For``, and the web process answers with what arrived. Only the command and the web
process, which share the master key, can ask for that.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

import httpx
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from neurant.accounts.codes import keyed_digest
from neurant.clock import utc_now
from neurant.errors import NotFoundError, SetupError, first_line
from neurant.settings import Settings

PATH = "/proxy-check"
HEADER = "X-NeurAnt-Proxy-Check"
FORGED = "192.0.2.66"  # of the addresses for documentation (RFC 5737): nobody's
_GOOD_FOR = 60  # seconds
_TIMEOUT = 10.0
Finding = Literal["direct", "right", "forgeable", "untrusted", "nameless"]

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the web process saw of a request: the peer, the client it took it for, the headers."""

    peer: str
    client: str
    forwarded: list[str]
    is_trusted: bool


@router.get(PATH)
async def proxy_check(request: Request) -> Response:
    """What arrived of this request; 404 for everybody but the command."""
    if not _is_ours(request.app.state.settings, request.headers.get(HEADER, "")):
        raise NotFoundError("not_found")
    return JSONResponse(
        {
            "peer": request.state.peer,
            "client": request.client.host if request.client else "",
            "forwarded": request.headers.getlist("x-forwarded-for"),
            "is_trusted": request.state.is_peer_trusted,
        }
    )


def ticket(settings: Settings) -> str:
    """The value of the header that lets the command ask, for a minute."""
    text = f"{int(utc_now().timestamp())}.{secrets.token_hex(8)}"
    return f"{text}.{keyed_digest(settings, 'proxy check', text.encode(), '').hex()}"


def _is_ours(settings: Settings, given: str) -> bool:
    text, _, signature = given.rpartition(".")
    moment = text.partition(".")[0]
    if not (moment.isascii() and moment.isdecimal()):
        return False
    wanted = keyed_digest(settings, "proxy check", text.encode("utf-8", "replace"), "").hex()
    is_fresh = abs(utc_now().timestamp() - int(moment[:12])) <= _GOOD_FOR
    return is_fresh and hmac.compare_digest(signature.encode(), wanted.encode())


async def check_proxy(settings: Settings) -> Finding:
    """Ask through the public address. Raises SetupError where it does not answer."""
    url = settings.base_url()
    try:
        async with httpx.AsyncClient(base_url=url, timeout=_TIMEOUT) as http:
            plain = await _ask(http, settings, {})
            forged = await _ask(http, settings, {"X-Forwarded-For": FORGED})
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise SetupError("setup.proxy_check_failed", url=url, reason=first_line(error)) from None
    return judge(plain, forged)


async def _ask(http: httpx.AsyncClient, settings: Settings, headers: dict[str, str]) -> Seen:
    answer = await http.get(PATH, headers={**headers, HEADER: ticket(settings)})
    answer.raise_for_status()
    return Seen(**answer.json())


def judge(plain: Seen, forged: Seen) -> Finding:
    """What the two answers mean.

    direct: no proxy is in between. right: the proxy names the client, and a forged address changes
    nothing. forgeable: what a client sends is believed. untrusted: a proxy is in between that is
    not configured. nameless: the proxy is trusted and names no client.
    """
    if forged.client == FORGED:
        return "forgeable"
    if not plain.is_trusted:
        return "untrusted" if plain.forwarded or forged.forwarded != [FORGED] else "direct"
    return "right" if plain.forwarded and _is_address(plain.client) else "nameless"


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
