"""The description that a provider publishes (OpenID Connect Discovery 1.0), cached for ten minutes.

A failed request is cached for 30 seconds, so that visitors cannot make the web process ask an
unreachable provider again and again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from weakref import WeakValueDictionary

import httpx

from neurant.auth.identity_http import SECONDS, ProviderError, ask_json
from neurant.auth.jwks import ALGORITHMS, KeyCache
from neurant.core.outbound_http import GuardedTransport, may_ask, private_hosts_of
from neurant.core.private_hosts import PrivateHosts
from neurant.core.settings import Settings

_FRESH = 600.0  # seconds
_FAILED_FRESH = 30.0  # seconds
_MAX_KNOWN = 1000
_CLIENT_AUTH = ("client_secret_basic", "client_secret_post")


@dataclass(frozen=True, slots=True)
class Provider:
    """An OpenID provider.

    ``algorithms``: the accepted algorithms with which it signs ID tokens; ``client_auth``: the
    supported methods of sending it the client secret; ``names_itself``: its answers carry ``iss``
    (RFC 9207).
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    algorithms: tuple[str, ...]
    client_auth: tuple[str, ...]
    names_itself: bool


@dataclass(frozen=True, slots=True)
class Providers:
    """The cache of all providers, in the services of a process."""

    transport: GuardedTransport
    client: httpx.AsyncClient
    keys: KeyCache
    known: OrderedDict[str, tuple[float, Provider | ProviderError]]
    clock: Callable[[], float] = monotonic
    asking: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    async def find(self, issuer: str, *, anew: bool = False) -> Provider:
        """Return the provider of an issuer. Raises ProviderError.

        ``anew``: ask the provider even if its description is cached. A failure then does not
        replace the cached description.
        """
        async with self.asking.setdefault(
            issuer, asyncio.Lock()
        ):  # one request per issuer at a time
            known = None if anew else self._remembered(issuer)
            if isinstance(known, ProviderError):
                raise ProviderError(known.code, **known.params)
            if known is not None:
                return known
            try:
                found = await self._asked(issuer)
            except ProviderError as error:
                if not anew:
                    self._remember(issuer, error)
                raise
            self._remember(issuer, found)
            return found

    def _remembered(self, issuer: str) -> Provider | ProviderError | None:
        at, found = self.known.get(issuer, (0.0, None))
        fresh = _FAILED_FRESH if isinstance(found, ProviderError) else _FRESH
        return found if self.clock() - at < fresh else None

    def _remember(self, issuer: str, found: Provider | ProviderError) -> None:
        self.known[issuer] = (self.clock(), found)
        self.known.move_to_end(issuer)
        while len(self.known) > _MAX_KNOWN:
            self.known.popitem(last=False)

    async def _asked(self, issuer: str) -> Provider:
        url = well_known_url(issuer)
        if not may_ask(url, self.transport.private_hosts):
            raise ProviderError("sso.provider_insecure", url=issuer)
        found = await ask_json(self.client, url)
        return read_provider(found, issuer, self.transport.private_hosts)


@asynccontextmanager
async def providers(settings: Settings) -> AsyncIterator[Providers]:
    """Yield the providers of a process while it runs."""
    transport = GuardedTransport(private_hosts_of(settings))
    async with httpx.AsyncClient(transport=transport, timeout=SECONDS) as client:
        yield Providers(transport, client, KeyCache(client), OrderedDict())


def well_known_url(issuer: str) -> str:
    """Return the address of an issuer's description (Discovery 4.1)."""
    return f"{issuer.rstrip('/')}/.well-known/openid-configuration"


def read_provider(found: dict[str, Any], issuer: str, private_hosts: PrivateHosts) -> Provider:
    """Return the checked description of a provider. Raises ProviderError."""
    if (
        found.get("issuer") != issuer
    ):  # exact comparison (Discovery 4.3); a similar issuer is another party
        said = str(found.get("issuer"))[:200]
        raise ProviderError("sso.provider_other_issuer", said=said, expected=issuer)
    places = {}
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"):
        place = found.get(name)
        if place is None and name == "userinfo_endpoint":
            continue
        if not isinstance(place, str) or not may_ask(place, private_hosts):
            raise ProviderError("sso.provider_wrong", url=well_known_url(issuer), what=name)
        places[name] = place
    algorithms = _common(found, "id_token_signing_alg_values_supported", ALGORITHMS, ("RS256",))
    client_auth = _common(
        found, "token_endpoint_auth_methods_supported", _CLIENT_AUTH, _CLIENT_AUTH[:1]
    )
    if not algorithms or "code" not in _texts(found.get("response_types_supported", ["code"])):
        raise ProviderError("sso.provider_unsuitable", url=issuer)
    return Provider(
        issuer=issuer,
        authorization_endpoint=places["authorization_endpoint"],
        token_endpoint=places["token_endpoint"],
        jwks_uri=places["jwks_uri"],
        userinfo_endpoint=places.get("userinfo_endpoint"),
        algorithms=algorithms,
        client_auth=client_auth,
        names_itself=found.get("authorization_response_iss_parameter_supported") is True,
    )


def _common(
    found: dict[str, Any], name: str, ours: tuple[str, ...], default: tuple[str, ...]
) -> tuple[str, ...]:
    theirs = _texts(found.get(name, default))
    return tuple(one for one in ours if one in theirs)


def _texts(found: object) -> list[str]:
    return [one for one in found if isinstance(one, str)] if isinstance(found, list | tuple) else []
