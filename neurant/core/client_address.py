"""Who sends a request: the client's address, which everything that counts or records it uses.

``X-Forwarded-For`` is believed only from a configured proxy (``NEURANT_TRUSTED_PROXIES``). Each
proxy appends the address that it sees, so only the right end of the list is known to be true: the
client is the rightmost address that is no trusted proxy (RFC 7239, section 8.1;
https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/X-Forwarded-For#selecting_an_ip_address).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from starlette.types import ASGIApp, Receive, Scope, Send

from neurant.core.clock import monotonic
from neurant.core.logs import get_logger

Address = IPv4Address | IPv6Address
UNKNOWN = "unknown"  # a peer without an address, such as a Unix socket
_BRACKETED = re.compile(r"\[([^\[\]]*)\](?::\d{1,5})?")
_WITH_PORT = re.compile(r"([0-9.]+):\d{1,5}")
_HOUR = 3600.0
_PERSISTENT = 20  # requests with the header from one peer, before it is taken for a proxy
_MOST_PEERS = 1000
_PROBES = ("/healthz", "/readyz")  # a load balancer asks these for itself

log = get_logger(__name__)
_sender: ContextVar[str] = ContextVar("sender", default="")


def sender() -> str:
    """The address (IPv6: the /64) whose request this task serves; empty outside a request."""
    client = _sender.get()
    return place_of(client).address if client else ""


@dataclass(frozen=True, slots=True)
class Place:
    """What a limit by address counts: the address (IPv6: its /64), and its network (/24, /48)."""

    address: str
    network: str


def read_address(text: str) -> Address | None:
    """An address as peers and proxies write it, or None for anything else.

    A port, brackets, quotes and the zone of IPv6 are left out; IPv4 inside IPv6 becomes IPv4.
    """
    bare = text.strip().strip('"')
    if found := _BRACKETED.fullmatch(bare) or _WITH_PORT.fullmatch(bare):
        bare = found[1]
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def place_of(client: str) -> Place:
    """What the limits count for a client's address."""
    address = read_address(client)
    if address is None:
        return Place(UNKNOWN, UNKNOWN)
    narrow, wide = (32, 24) if address.version == 4 else (64, 48)
    narrow_network = ip_network((address, narrow), strict=False)
    shown = str(address) if address.version == 4 else str(narrow_network)
    return Place(shown, str(ip_network((address, wide), strict=False)))


class TrustedProxies:
    """The proxies of ``NEURANT_TRUSTED_PROXIES``: addresses and networks, or ``*`` for any peer."""

    def __init__(self, setting: str) -> None:
        parts = [part for part in (one.strip() for one in setting.split(",")) if part]
        self._any_peer = "*" in parts
        self._networks = [ip_network(part) for part in parts if part != "*"]

    def is_peer(self, address: Address | None) -> bool:
        """Is whoever connected to us a proxy whose headers are believed?"""
        return self._any_peer or self.has(address)

    def has(self, address: Address | None) -> bool:
        """Is it one of the proxies that are named? With ``*`` alone no address is."""
        return address is not None and any(address in network for network in self._networks)

    def client_of(self, peer: str, forwarded: Sequence[str]) -> str:
        """The client's address, given the peer and every ``X-Forwarded-For`` header in order.

        An entry that is no address ends the search: what is left of it was said by nobody we know.
        """
        client = read_address(peer)
        if not self.is_peer(client):
            return str(client) if client else UNKNOWN
        for entry in reversed([entry for line in forwarded for entry in line.split(",")]):
            address = read_address(entry)
            if address is None:
                break
            client = address
            if not self.has(address):
                break
        return str(client) if client else UNKNOWN


class ClientAddress:
    """The outermost ASGI layer: puts the client's address and scheme in place of the proxy's.

    ``scope["state"]`` keeps who connected: ``peer`` (address) and ``peer_port``. Logs, once an
    hour, a proxy that is trusted and names no client, and a peer that is not trusted and sends the
    header again and again.
    """

    def __init__(self, app: ASGIApp, setting: str) -> None:
        self._app = app
        self._trusted = TrustedProxies(setting)
        self._untrusted: dict[str, int] = {}
        self._told: dict[tuple[str, str], float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] in ("http", "websocket"):
            scope = self._known(scope)
            client = scope["client"]
            _sender.set(client[0] if client else UNKNOWN)
        await self._app(scope, receive, send)

    def _known(self, scope: Scope) -> Scope:
        peer, port = scope.get("client") or ("", 0)
        headers = scope["headers"]
        forwarded = [v.decode("latin-1") for name, v in headers if name == b"x-forwarded-for"]
        read = read_address(peer)
        is_trusted = self._trusted.is_peer(read)
        state = {
            **scope.get("state", {}),
            "peer": peer,
            "peer_port": port,
            "is_peer_trusted": is_trusted,
        }
        client = self._trusted.client_of(peer, forwarded)
        known = {**scope, "state": state, "client": None if client == UNKNOWN else (client, 0)}
        if is_trusted:
            schemes = [v.decode("latin-1") for name, v in headers if name == b"x-forwarded-proto"]
            scheme = schemes[-1].rpartition(",")[2].strip().lower() if schemes else ""
            if scheme in ("http", "https") and scope["type"] == "http":
                known["scheme"] = scheme
            if not forwarded and scope["path"] not in _PROBES:
                self._tell("proxy_names_no_client", peer)
        elif forwarded:
            self._note_untrusted(peer)
        return known

    def _note_untrusted(self, peer: str) -> None:
        if peer not in self._untrusted and len(self._untrusted) >= _MOST_PEERS:
            self._untrusted.clear()
        self._untrusted[peer] = self._untrusted.get(peer, 0) + 1
        if self._untrusted[peer] >= _PERSISTENT:
            self._untrusted[peer] = 0
            self._tell("proxy_not_trusted", peer, setting="NEURANT_TRUSTED_PROXIES")

    def _tell(self, event: str, peer: str, **more: str) -> None:
        now = monotonic()
        if now - self._told.get((event, peer), -_HOUR) < _HOUR:
            return
        if len(self._told) >= _MOST_PEERS:
            self._told.clear()
        self._told[event, peer] = now
        log.warning(event, peer=peer, **more)
