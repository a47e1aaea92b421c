"""Tokens of a Supabase project, accepted instead of a session if a project is configured.

https://supabase.com/docs/guides/auth/jwts and /jwt-fields: ``iss`` is ``<project>/auth/v1``,
``aud`` and ``role`` are ``authenticated``, ``sub`` is ``auth.users.id``; the public keys are at
``<project>/auth/v1/.well-known/jwks.json``. The token identifies a person. It grants no permission:
our own tables hold the permissions.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from joserfc import jws, jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import OctKey

from neurant.auth.jwks import MAX_TOKEN_LENGTH, KeyCache, decode, read_token
from neurant.core.clock import utc_now
from neurant.core.errors import UnauthenticatedError
from neurant.core.settings import Settings

LEEWAY = 60  # seconds of difference between two clocks
_ALGORITHMS = ("RS256", "ES256", "EdDSA", "Ed25519")
_MAX_SESSION_ID_LENGTH = 100


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """The person of a token. ``session_id`` is the project's name of the session, for the audit."""

    sub: UUID
    session_id: str | None
    expires_at: datetime


def is_configured(settings: Settings) -> bool:
    """Return whether tokens of a project are accepted."""
    return settings.supabase_issuer_url() is not None


def looks_like_token(bearer: str) -> bool:
    """Return whether a bearer credential is a JWT; our own tokens have no dots."""
    return bearer.count(".") == 2


async def verify(token: str, settings: Settings, keys: KeyCache) -> VerifiedToken:
    """Return the person of the token if the project issued it for this audience and it is valid
    now.

    Raises UnauthenticatedError (``tokens.invalid``, ``tokens.expired``) and ProviderError if the
    project's keys cannot be fetched.
    """
    try:
        found = await _read(token, settings, keys)
        _registry(settings).validate(found.claims)
        return _token_from_claims(found.claims)
    except ExpiredTokenError:
        raise UnauthenticatedError("tokens.expired") from None
    except (JoseError, ValueError, OverflowError, OSError):
        raise UnauthenticatedError("tokens.invalid") from None


async def _read(token: str, settings: Settings, keys: KeyCache) -> jwt.Token:
    if not is_configured(settings) or len(token) > MAX_TOKEN_LENGTH or not token.isascii():
        raise JoseError("no token")
    secret, url = settings.supabase_jwt_secret, settings.supabase_jwks()
    if secret is not None and _algorithm(token) == "HS256":
        return decode(token, OctKey.import_key(secret.get_secret_value()), ["HS256"])
    if url is None:
        raise JoseError("no key for this algorithm")
    return await read_token(token, keys, url, _ALGORITHMS)


def _algorithm(token: str) -> object:
    """Return the algorithm of the token's header; it only decides which key is tried."""
    try:
        return jws.extract_compact(token.encode()).headers().get("alg")
    except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def _registry(settings: Settings) -> jwt.JWTClaimsRegistry:
    return jwt.JWTClaimsRegistry(
        now=lambda: int(utc_now().timestamp()),
        leeway=LEEWAY,
        iss={"essential": True, "value": settings.supabase_issuer_url() or ""},
        aud={"essential": True, "value": settings.supabase_audience},
        exp={"essential": True},
        sub={"essential": True},
        # The anon and service keys of a project are signed with the same keys but have no person.
        role={"essential": True, "value": "authenticated"},
    )


def _token_from_claims(claims: dict[str, Any]) -> VerifiedToken:
    session = claims.get("session_id")
    known = isinstance(session, str) and session.isprintable()
    return VerifiedToken(
        sub=UUID(claims["sub"]),
        session_id=str(session)[:_MAX_SESSION_ID_LENGTH] if known else None,
        expires_at=datetime.fromtimestamp(claims["exp"], UTC),
    )
