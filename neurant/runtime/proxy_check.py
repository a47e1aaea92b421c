"""``neurant proxy-check``: check that the reverse proxy passes on the client's real address.

The command sends two requests through the public address, one of them with a forged
``X-Forwarded-For``, and the web process answers with the headers and addresses that it received.
Only the command can request this, because it shares the master key with the web process.

The headers alone cannot show that there is no proxy: a proxy that passes every header on unchanged
looks like a direct connection. The command therefore compares the two ends of each connection. Only
if the web process saw the command's own address and port as its peer, there is nothing in between.
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

from neurant.auth.codes import keyed_digest
from neurant.core.client_address import read_address
from neurant.core.clock import utc_now
from neurant.core.errors import NotFoundError, SetupError, first_line
from neurant.core.services import services_of
from neurant.core.settings import Settings

PATH = "/proxy-check"
HEADER = "X-NeurAnt-Proxy-Check"
FORGED = "192.0.2.66"  # an address for documentation (RFC 5737), which no client has
_GOOD_FOR = 60  # seconds that a ticket is valid
_TIMEOUT = 10.0
Finding = Literal["direct", "right", "forgeable", "untrusted", "nameless", "unchanged"]

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as the web process saw it.

    The peer is an address and a port; ``own_end`` is the command's end of its connection.
    """

    peer: str
    peer_port: int
    client: str
    forwarded: list[str]
    is_trusted: bool
    own_end: tuple[str, int] | None

    @property
    def is_own_connection(self) -> bool:
        """Return whether the peer of the web process was the command itself."""
        if self.own_end is None:
            return False
        peer, own = read_address(self.peer), read_address(self.own_end[0])
        return peer is not None and (peer, self.peer_port) == (own, self.own_end[1])


@router.get(PATH)
async def proxy_check(request: Request) -> Response:
    """Return this request as it arrived; 404 without a valid ticket of the command."""
    if not _is_ours(services_of(request).settings, request.headers.get(HEADER, "")):
        raise NotFoundError("not_found")
    return JSONResponse(
        {
            "peer": request.state.peer,
            "peer_port": request.state.peer_port,
            "client": request.client.host if request.client else "",
            "forwarded": request.headers.getlist("x-forwarded-for"),
            "is_trusted": request.state.is_peer_trusted,
        }
    )


def ticket(settings: Settings) -> str:
    """Return the value of the header that authorizes the command for one minute."""
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
    """Check the proxy through the public address. Raises SetupError if it does not answer."""
    url = settings.base_url()
    try:
        plain = await _ask(url, settings, {})
        forged = await _ask(url, settings, {"X-Forwarded-For": FORGED})
    except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        raise SetupError("setup.proxy_check_failed", url=url, reason=first_line(error)) from None
    return judge(plain, forged)


async def _ask(url: str, settings: Settings, headers: dict[str, str]) -> Seen:
    """Send one request over its own connection, so that equal ports are no coincidence."""
    given = {**headers, HEADER: ticket(settings)}
    async with (
        httpx.AsyncClient(base_url=url, timeout=_TIMEOUT) as http,
        http.stream("GET", PATH, headers=given) as answer,
    ):
        own_end = _own_end(answer)
        await answer.aread()
    answer.raise_for_status()
    return Seen(**answer.json(), own_end=own_end)


def _own_end(answer: httpx.Response) -> tuple[str, int] | None:
    """Return the address and port of this end of the answer's connection, or None if unknown.

    Source: https://www.encode.io/httpcore/network-backends/.
    """
    stream = answer.extensions.get("network_stream")
    end = stream.get_extra_info("client_addr") if stream is not None else None
    return (str(end[0]), int(end[1])) if isinstance(end, tuple) else None


def judge(plain: Seen, forged: Seen) -> Finding:
    """Return the finding from the plain and the forged request.

    direct: there is no proxy, because the web process saw the command's own connection both times.
    right: the proxy names the client, and a forged address changes nothing. forgeable: a client's
    own header is trusted. untrusted: there is a proxy that is not configured. nameless: the proxy
    is trusted and names no client. unchanged: the headers arrive as they were sent, but not over
    the command's own connection, because a proxy passes them on or addresses are translated.
    """
    if forged.client == FORGED:
        return "forgeable"
    if plain.is_trusted:
        return "right" if plain.forwarded and _is_address(plain.client) else "nameless"
    if plain.forwarded or forged.forwarded != [FORGED]:
        return "untrusted"
    return "direct" if plain.is_own_connection and forged.is_own_connection else "unchanged"


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
