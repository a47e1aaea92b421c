"""The HTTP client that speaks with identity providers, whose addresses are written by customers.

Without care such an address makes us ask our own network (server-side request forgery, OWASP). So:
https only; the name is resolved here, every address is looked at, and the connection goes to the
address that was looked at, so that a second look-up cannot differ; no redirects, no proxies of the
environment, no compressed bodies, bounded sizes and times. ``NEURANT_SSO_PRIVATE_NETWORKS`` allows
private addresses, for a provider on the company's own network, and plain http to this machine.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from typing import Any

import httpcore
import httpx
from httpcore import AsyncNetworkBackend, AsyncNetworkStream
from httpcore._backends.auto import AutoBackend

from neurant.core.errors import UnavailableError

MOST_BYTES = 512 * 1024
SECONDS = 8.0  # for one question and its whole answer
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")  # the second is an IPv6 address
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_NOT_PUBLIC_4 = [
    IPv4Network(block)
    for block in (
        "0.0.0.0/8",  # this network (RFC 791)
        "10.0.0.0/8",  # private (RFC 1918)
        "100.64.0.0/10",  # shared by a carrier's customers (RFC 6598)
        "127.0.0.0/8",  # loopback (RFC 1122)
        "169.254.0.0/16",  # link local (RFC 3927), where clouds keep their secrets
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
# From which all unicast addresses are given out (RFC 4291). Outside it, and so never public: ::/8
# with ::a.b.c.d, ::ffff:0:0:0/96 (RFC 2765) and 64:ff9b:1::/48 (RFC 8215), 100::/64 (RFC 6666),
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
_ISATAP = 0x5EFE  # of an interface identifier; its universal bit may be set (RFC 5214, 6.1)


class ProviderError(UnavailableError):
    """The identity provider cannot be used now; ``errors.sso.<code>`` says why."""


class PrivateAddressError(httpcore.ConnectError):
    """The provider's name leads to an address that is not on the public internet."""


class TooMuchError(httpx.TransportError):
    """The answer is larger than any of its kind."""


def is_public(address: str) -> bool:
    """Whether an address is on the public internet, also where IPv6 carries an IPv4 one.

    By a table of our own: what Python's ``is_global`` knows depends on its version. Sources: the
    IANA registries of special-purpose IPv4 and IPv6 addresses and of IPv6 address space. A block
    is refused where the registries leave it open; no identity provider lives in one.
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
    """Connects to public addresses only."""

    def __init__(self) -> None:
        self._inner = AutoBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - as httpcore calls it
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> AsyncNetworkStream:
        """To the first public address of the name. Raises PrivateAddressError, ConnectError."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
        public = [address for address in addresses if is_public(address)]
        if not public:
            raise PrivateAddressError(f"{host} is not on the public internet")
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in public[:4]:
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def sleep(self, seconds: float) -> None:
        """As httpcore asks for it between retries."""
        await self._inner.sleep(seconds)


class _Bounded(httpx.AsyncByteStream):
    """A body of at most MOST_BYTES."""

    def __init__(self, inner: httpx.AsyncByteStream) -> None:
        self._inner = inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._inner:
            size += len(part)
            if size > MOST_BYTES:
                raise TooMuchError("the answer is too large")
            yield part

    async def aclose(self) -> None:
        """Give the connection back."""
        await self._inner.aclose()


@lru_cache(maxsize=1)
def _ssl_context() -> ssl.SSLContext:
    """The certificates that we trust; reading them takes a while."""
    return httpx.create_ssl_context(trust_env=False)


class GuardedTransport(httpx.AsyncHTTPTransport):
    """httpx's own transport with the rules above."""

    def __init__(self, *, private_networks: bool) -> None:
        context = _ssl_context()
        super().__init__(verify=context, trust_env=False)
        self._private = private_networks
        if not private_networks:
            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=context,
                max_connections=50,
                max_keepalive_connections=5,
                keepalive_expiry=5,
                network_backend=_CheckedBackend(),
            )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One question. Raises httpx.UnsupportedProtocol for plain http to elsewhere."""
        if not may_ask(str(request.url), private_networks=self._private):
            raise httpx.UnsupportedProtocol("only https")
        request.headers["accept-encoding"] = "identity"
        response = await super().handle_async_request(request)
        if "content-encoding" in response.headers:
            await response.aclose()
            raise httpx.DecodingError("a compressed answer was not asked for")
        assert isinstance(response.stream, httpx.AsyncByteStream)  # noqa: S101 - it is async
        response.stream = _Bounded(response.stream)
        return response


def may_ask(url: str, *, private_networks: bool) -> bool:
    """Whether an address is one to ask, by its form: https, or plain http to this machine where
    private networks are allowed."""
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL:
        return False
    if parts.userinfo or not _HOST.fullmatch(parts.host):
        return False
    return parts.scheme == "https" or (
        private_networks and parts.scheme == "http" and parts.host in _LOOPBACK
    )


async def ask_json(
    client: httpx.AsyncClient, url: str, headers: dict[str, str] | None = None
) -> dict[str, Any]:
    """The JSON object at an address.

    Raises ProviderError: ``sso.provider_away``, ``sso.provider_private``, ``sso.provider_wrong``.
    """
    try:
        async with asyncio.timeout(SECONDS):
            answer = await client.get(url, headers=headers)
    except (httpx.HTTPError, TimeoutError) as error:
        raise told(error, url) from error
    if answer.status_code != 200:
        away = answer.status_code >= 500 or answer.status_code == 429
        code = "sso.provider_away" if away else "sso.provider_wrong"
        raise ProviderError(code, url=url, what=f"HTTP {answer.status_code}")
    try:
        found = json.loads(answer.content)
    except (ValueError, RecursionError):
        raise ProviderError("sso.provider_wrong", url=url, what="no JSON") from None
    if not isinstance(found, dict):
        raise ProviderError("sso.provider_wrong", url=url, what="no JSON object")
    return found


def told(error: BaseException, url: str) -> ProviderError:
    """What a failed question to a provider is called."""
    if isinstance(error.__cause__, PrivateAddressError):
        return ProviderError("sso.provider_private", url=url)
    if isinstance(error, TooMuchError | httpx.DecodingError | httpx.UnsupportedProtocol):
        return ProviderError("sso.provider_wrong", url=url, what=str(error))
    return ProviderError("sso.provider_away", url=url, what=type(error).__name__)
