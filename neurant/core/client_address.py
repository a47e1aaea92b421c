"""The client's address of a request, which every limit and every record uses.

``X-Forwarded-For`` is trusted only from a configured proxy (``NEURANT_TRUSTED_PROXIES``). Each
proxy appends the address that it sees, so only the right end of the list is reliable: the client is
the rightmost address that is no trusted proxy (RFC 7239, section 8.1;
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
_PERSISTENT = 20  # requests with the header after which a peer is reported as an untrusted proxy
_MAX_PEERS = 1000
_PROBES = ("/healthz", "/readyz")  # a load balancer requests these without a client

log = get_logger(__name__)
_sender: ContextVar[str] = ContextVar("sender", default="")


def sender() -> str:
    """Return the client's address (IPv6: its /64) of this task's request, or an empty string."""
    client = _sender.get()
    return place_of(client).address if client else ""


@dataclass(frozen=True, slots=True)
class Place:
    """The keys of a limit by address: the address (IPv6: its /64) and its network (/24 or /48)."""

    address: str
    network: str


def read_address(text: str) -> Address | None:
    """Parse an address as peers and proxies write it; None for any other text.

    A port, brackets, quotes and the zone of IPv6 are removed; an IPv4-mapped IPv6 address becomes
    IPv4.
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
    """Return the keys under which the limits count a client's address."""
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
        """Return whether the connected peer is a proxy whose headers are trusted."""
        return self._any_peer or self.has(address)

    def has(self, address: Address | None) -> bool:
        """Return whether the address is one of the listed proxies; ``*`` lists none."""
        return address is not None and any(address in network for network in self._networks)

    def client_of(self, peer: str, forwarded: Sequence[str]) -> str:
        """Return the client's address, given the peer and the ``X-Forwarded-For`` headers in order.

        An entry that is no address ends the search, because everything to its left is untrusted.
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
    """The outermost ASGI layer, which replaces the proxy's address and scheme with the client's.

    ``scope["state"]`` keeps the connection's ``peer`` (address) and ``peer_port``. At most once an
    hour each, it logs a trusted proxy that sends no client address, and an untrusted peer that
    repeatedly sends the header.
    """

    def __init__(self, app: ASGIApp, setting: str) -> None:
        self._app = app
        self._trusted = TrustedProxies(setting)
        self._untrusted: dict[str, int] = {}
        self._reported_at: dict[tuple[str, str], float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] in ("http", "websocket"):
            scope = self._with_client_address(scope)
            client = scope["client"]
            _sender.set(client[0] if client else UNKNOWN)
        await self._app(scope, receive, send)

    def _with_client_address(self, scope: Scope) -> Scope:
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
        resolved = {**scope, "state": state, "client": None if client == UNKNOWN else (client, 0)}
        if is_trusted:
            schemes = [v.decode("latin-1") for name, v in headers if name == b"x-forwarded-proto"]
            scheme = schemes[-1].rpartition(",")[2].strip().lower() if schemes else ""
            if scheme in ("http", "https") and scope["type"] == "http":
                resolved["scheme"] = scheme
            if not forwarded and scope["path"] not in _PROBES:
                self._tell("proxy_names_no_client", peer)
        elif forwarded:
            self._note_untrusted(peer)
        return resolved

    def _note_untrusted(self, peer: str) -> None:
        if peer not in self._untrusted and len(self._untrusted) >= _MAX_PEERS:
            self._untrusted.clear()
        self._untrusted[peer] = self._untrusted.get(peer, 0) + 1
        if self._untrusted[peer] >= _PERSISTENT:
            self._untrusted[peer] = 0
            self._tell("proxy_not_trusted", peer, setting="NEURANT_TRUSTED_PROXIES")

    def _tell(self, event: str, peer: str, **more: str) -> None:
        now = monotonic()
        if now - self._reported_at.get((event, peer), -_HOUR) < _HOUR:
            return
        if len(self._reported_at) >= _MAX_PEERS:
            self._reported_at.clear()
        self._reported_at[event, peer] = now
        log.warning(event, peer=peer, **more)
