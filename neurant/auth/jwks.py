"""The public keys of token issuers (RFC 7517), cached and renewed when they rotate.

A token with an unknown key causes one new request, but an issuer is asked at most once in
``BETWEEN`` seconds, whatever tokens arrive. While an issuer does not answer, the known keys stay
valid for ``STALE`` seconds more.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import httpx
from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError
from joserfc.jwk import JWKRegistry, Key, KeySet, OctKey, RSAKey

from neurant.auth.identity_http import ProviderError, ask_json
from neurant.core.errors import NeurantError

FRESH = 600.0
STALE = 3600.0
BETWEEN = 10.0
MAX_TOKEN_LENGTH = 16 * 1024
# Asymmetric algorithms only: anybody could sign with a public key as HMAC secret (RFC 8725, 3.1).
ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA", "Ed25519"),
)
_MAX_ISSUERS = 1000
_MAX_KEYS = 100
_MIN_RSA_BITS = 2048


@dataclass(slots=True)
class _Known:
    keys: KeySet | None = None
    fetched_at: float = float("-inf")
    asked_at: float = float("-inf")
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class KeyCache:
    """A cache of key sets by their address. A process keeps one in its services."""

    def __init__(self, client: httpx.AsyncClient, clock: Callable[[], float] = monotonic) -> None:
        self._client = client
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def find(self, url: str, *, unlike: KeySet | None = None) -> KeySet:
        """Return the keys at an address, or newer ones than ``unlike`` if the issuer may be asked
        again.

        Raises ProviderError if no keys are known and the issuer returns none.
        """
        known = self._known.setdefault(url, _Known())
        self._known.move_to_end(url)
        while len(self._known) > _MAX_ISSUERS:
            self._known.popitem(last=False)
        async with known.lock:
            now = self._clock()
            fresh = now - known.fetched_at < FRESH and known.keys is not unlike
            if known.keys is not None and (fresh or now - known.asked_at < BETWEEN):
                return known.keys
            known.asked_at = now
            try:
                known.keys = read_keys(await ask_json(self._client, url))
                known.fetched_at = now
            except NeurantError:
                if known.keys is None or now - known.fetched_at > STALE:
                    raise
            return known.keys


def read_keys(found: dict[str, Any]) -> KeySet:
    """Return the usable keys of a set: public keys for signatures that are long enough.

    Other keys are ignored (RFC 7517, 5). Raises ProviderError (``sso.provider_wrong``) if ``found``
    is no key set.
    """
    listed = found.get("keys")
    if not isinstance(listed, list):
        raise ProviderError("sso.provider_wrong", url="jwks_uri", what="no key set")
    keys = [key for one in listed[:_MAX_KEYS] if (key := _read_key(one)) is not None]
    return KeySet(keys)


def _read_key(found: object) -> Key | None:
    if not isinstance(found, dict) or found.get("use", "sig") != "sig":
        return None
    try:
        key = JWKRegistry.import_key(found)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    if isinstance(key, OctKey):
        return None
    if isinstance(key, RSAKey) and key.raw_value.key_size < _MIN_RSA_BITS:
        return None
    return key


async def read_token(
    token: str, cache: KeyCache, url: str, algorithms: Collection[str] = ALGORITHMS
) -> jwt.Token:
    """Return a token whose signature is by one of the keys at ``url``; its claims are not yet
    checked.

    Raises JoseError for a token of another issuer, and ProviderError if the keys cannot be fetched.
    """
    if len(token) > MAX_TOKEN_LENGTH:
        raise JoseError("the token is too large")
    keys = await cache.find(url)
    try:
        return decode(token, keys, algorithms)
    except (InvalidKeyIdError, BadSignatureError):
        renewed = await cache.find(url, unlike=keys)
        if renewed is keys:
            raise
        return decode(token, renewed, algorithms)


def decode(token: str, key: KeySet | Key, algorithms: Collection[str]) -> jwt.Token:
    """Call ``jwt.decode`` and turn every failure into a JoseError, whatever the caller sent."""
    try:
        return jwt.decode(token, key, algorithms=list(algorithms))
    except JoseError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError, json.JSONDecodeError) as error:
        raise JoseError(f"no token: {type(error).__name__}") from error
