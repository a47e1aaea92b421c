"""The guarded HTTP client for every request that leaves the platform.

Customers and their systems choose addresses, and an unchecked address could make the platform call
its own network (server-side request forgery, OWASP). The rules are: https only; the name is
resolved here, every address is checked, and the connection uses the checked address, so that a
second lookup cannot differ; each redirect is checked like the first request; no proxies of the
environment, no compressed bodies, limited sizes and times. ``NEURANT_OUTBOUND_PRIVATE_HOSTS``
allows private networks by name, also for plain http.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from typing import Any

import httpcore
import httpx
from httpcore import AsyncNetworkBackend, AsyncNetworkStream

from neurant.core.private_hosts import HOST, PrivateHosts
from neurant.core.settings import Settings

MAX_BYTES = 512 * 1024  # the default limit of an answer
_NOT_PUBLIC_4 = [
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network (RFC 791)
        "10.0.0.0/8",  # private (RFC 1918)
        "100.64.0.0/10",  # shared by a carrier's customers (RFC 6598)
        "127.0.0.0/8",  # loopback (RFC 1122)
        "169.254.0.0/16",  # link local (RFC 3927), with the metadata service of clouds
        "172.16.0.0/12",  # private (RFC 1918)
        "192.0.0.0/24",  # IETF protocol assignments (RFC 6890)
        "192.0.2.0/24",  # documentation (RFC 5737)
        "192.88.99.0/24",  # 6to4 relays, withdrawn (RFC 7526)
        "192.168.0.0/16",  # private (RFC 1918)
        "198.18.0.0/15",  # benchmarking (RFC 2544)
        "198.51.100.0/24",  # documentation (RFC 5737)
        "203.0.113.0/24",  # documentation (RFC 5737)
        "224.0.0.0/4",  # multicast (RFC 5771)
        "240.0.0.0/4",  # reserved, with the broadcast address (RFC 1112, RFC 8190)
    )
]
# All unicast addresses are allocated from it (RFC 4291). Outside it, and so never public: ::/8 with
# ::a.b.c.d, ::ffff:0:0:0/96 (RFC 2765) and 64:ff9b:1::/48 (RFC 8215), 100::/64 (RFC 6666),
# 5f00::/16 (RFC 9602), fc00::/7 (RFC 4193), fe80::/10, fec0::/10 (RFC 3879), ff00::/8.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = [
    IPv6Network(block)
    for block in (
        "2001::/23",  # IETF protocol assignments: Teredo, benchmarking, ORCHID (RFC 2928)
        "2001:db8::/32",  # documentation (RFC 3849)
        "3fff::/20",  # documentation (RFC 9637)
    )
]
_MAPPED = IPv6Network("::ffff:0:0/96")  # RFC 4291, 2.5.5.2
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052
_SIX_TO_FOUR = IPv6Network("2002::/16")  # RFC 3056
_ISATAP = 0x5EFE  # part of an interface identifier; its universal bit may be set (RFC 5214, 6.1)


class PrivateAddressError(httpcore.ConnectError):
    """The name resolves to an address that is not on the public internet."""


class TooMuchError(httpx.TransportError):
    """The answer is larger than its limit."""


def is_public(address: str) -> bool:
    """Return whether an address is on the public internet, also if IPv6 embeds an IPv4 one.

    The tables are our own, because Python's ``is_global`` depends on the version. Sources: the IANA
    registries of special-purpose IPv4 and IPv6 addresses and of the IPv6 address space. A block
    that the registries leave open is refused, because no public server uses it.
    """
    found = ip_address(address.partition("%")[0])
    if isinstance(found, IPv4Address):
        return not any(found in block for block in _NOT_PUBLIC_4)
    if found in _MAPPED or found in _NAT64:
        return is_public(str(IPv4Address(int(found) & 0xFFFFFFFF)))
    if found not in _GLOBAL_UNICAST or any(found in block for block in _NOT_PUBLIC_6):
        return False
    if found in _SIX_TO_FOUR:
        return is_public(str(IPv4Address(int(found) >> 80 & 0xFFFFFFFF)))
    if int(found) >> 32 & 0xFDFFFFFF == _ISATAP:
        return is_public(str(IPv4Address(int(found) & 0xFFFFFFFF)))
    return True


class _CheckedBackend(AsyncNetworkBackend):
    """A network backend that connects to public addresses and to allowed private ones."""

    def __init__(self, private_hosts: PrivateHosts) -> None:
        self._inner = httpcore.AnyIOBackend()
        self._private_hosts = private_hosts

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - as httpcore calls it
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> AsyncNetworkStream:
        """Connect to an allowed address of the name. Raises PrivateAddressError, ConnectError."""
        allowed = [one for one in await _addresses(host, port) if self._may_connect(host, one)]
        if not allowed:
            raise PrivateAddressError(f"{host} is not on the public internet")
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in allowed[:4]:
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def _may_connect(self, host: str, address: str) -> bool:
        hosts = self._private_hosts
        return is_public(address) or host.lower() in hosts.names or hosts.has_address(address)

    async def sleep(self, seconds: float) -> None:
        """Sleep between retries, as httpcore requires."""
        await self._inner.sleep(seconds)


async def _addresses(host: str, port: int) -> list[str]:
    """Return the distinct addresses of a name, in the resolver's order."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error
    return list(dict.fromkeys(str(one[4][0]) for one in found))


class _Bounded(httpx.AsyncByteStream):
    """A body of at most ``max_body_bytes`` bytes."""

    def __init__(self, inner: httpx.AsyncByteStream, max_body_bytes: int) -> None:
        self._inner, self._max_body_bytes = inner, max_body_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._inner:
            size += len(part)
            if size > self._max_body_bytes:
                raise TooMuchError("the answer is too large")
            yield part

    async def aclose(self) -> None:
        """Release the connection."""
        await self._inner.aclose()


@lru_cache(maxsize=1)
def _ssl_context() -> ssl.SSLContext:
    """Return the trusted certificates, cached because loading them is slow."""
    return httpx.create_ssl_context(trust_env=False)


class GuardedTransport(httpx.AsyncHTTPTransport):
    """The transport of httpx with the rules of this module for each request and redirect."""

    def __init__(self, private_hosts: PrivateHosts, max_body_bytes: int = MAX_BYTES) -> None:
        context = _ssl_context()
        super().__init__(verify=context, trust_env=False)
        self.private_hosts, self._max_body_bytes = private_hosts, max_body_bytes
        # httpx has no option for a network backend; a test checks that httpx uses this attribute.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=50,
            max_keepalive_connections=5,
            keepalive_expiry=5,
            network_backend=_CheckedBackend(private_hosts),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request. Raises httpx.UnsupportedProtocol for a refused address."""
        if not may_ask(str(request.url), self.private_hosts):
            raise httpx.UnsupportedProtocol("only https")
        request.headers["accept-encoding"] = "identity"
        response = await super().handle_async_request(request)
        if "content-encoding" in response.headers:
            await response.aclose()
            raise httpx.DecodingError("a compressed answer was not asked for")
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - this is the async transport
        response.stream = _Bounded(response.stream, self._max_body_bytes)
        return response


def may_ask(url: str, private_hosts: PrivateHosts) -> bool:
    """Return whether a URL may be requested: https, or plain http to a listed host."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    if parts.userinfo or not HOST.fullmatch(parts.host):
        return False
    return parts.scheme == "https" or (
        parts.scheme == "http" and private_hosts.has_name(parts.host)
    )


def private_hosts_of(settings: Settings) -> PrivateHosts:
    """Return the private hosts of the setting, and those of our own services."""
    listed = PrivateHosts.parse(settings.outbound_private_hosts)
    ours = (settings.telegram_api_url, settings.supabase_url, settings.supabase_jwks_url)
    named = {httpx.URL(url).host.lower() for url in ours if url}
    return PrivateHosts(listed.names | named, listed.networks)


def make_client(
    settings: Settings, *, seconds: float | httpx.Timeout, max_body_bytes: int = MAX_BYTES
) -> httpx.AsyncClient:
    """Return the client for every request that leaves the platform.

    By default it follows no redirect. Its requests raise httpx errors: ConnectError (also for a
    private address), UnsupportedProtocol, DecodingError, TimeoutException, and TooMuchError.
    """
    transport = GuardedTransport(private_hosts_of(settings), max_body_bytes)
    return httpx.AsyncClient(transport=transport, timeout=seconds, trust_env=False)
