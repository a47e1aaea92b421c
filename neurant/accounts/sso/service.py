"""Signing in with a company's provider: OpenID Connect's authorization code flow with PKCE.

Sources: Core 1.0 (3.1), RFC 7636 (PKCE), RFC 9207 (issuer in the answer), RFC 9700 (best practice).
The browser keeps a secret of its own in a cookie. PKCE's verifier and the nonce are derived from
it, so an answer that reaches another browser, or a copy of the database, signs nobody in. A
provider vouches for the people of its own company, so it opens sessions of that company only. The
redirect address contains the company, so that the provider of one company cannot receive the
answers for another.
"""

from __future__ import annotations

import asyncio
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from urllib.parse import quote_plus
from uuid import UUID

import httpx
import psycopg
from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oidc.core import CodeIDToken
from joserfc.errors import JoseError

from neurant.accounts.queries import release_throttle
from neurant.accounts.service import KEPT, SHORT, plain_trail, throttle
from neurant.accounts.sso.provider import Provider, Providers
from neurant.accounts.sso.queries import (
    Identity,
    ReturnedAttempt,
    SignOnOutcome,
    begin_attempt,
    claim_attempt,
    find_offer,
    finish_attempt,
)
from neurant.auth.codes import digest
from neurant.auth.identity_http import SECONDS, ProviderError, ask_json, provider_error
from neurant.auth.jwks import read_token
from neurant.core.clock import utc_now
from neurant.core.db.pool import Pool
from neurant.core.db.tenancy import Trail
from neurant.core.emails import normal_email
from neurant.core.errors import BadInputError, NotFoundError, SetupError, UnauthenticatedError
from neurant.core.logs import get_logger
from neurant.core.names import reads_as_name, without_hidden
from neurant.core.settings import Settings
from neurant.core.vault import open_wrapped
from neurant.plans.limits import REACHED

LEEWAY = 60  # seconds of difference between two clocks
_MAX_RETURNED_LENGTH = 4096  # characters of a value in the query of the callback
_NAME = 100
log = get_logger(__name__)


class SsoError(UnauthenticatedError):
    """Nobody was signed in; ``errors.sso.<code>`` says why and what to do."""


@dataclass(frozen=True, slots=True)
class Departure:
    """The address to which the browser goes, and the named secret that it must bring back."""

    url: str
    state: str
    secret: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """A session that a provider opened, and the page that the person wanted."""

    token: str
    expires_at: datetime
    next_path: str
    is_kept: bool


def domain_of(email: str) -> str:
    """Return the normalized domain of an address. Raises BadInputError (``accounts.bad_email``)."""
    return normal_email(email).partition("@")[2]


def callback_url(settings: Settings, company_id: UUID) -> str:
    """Return the redirect URI that a company registers at its provider."""
    return f"{settings.base_url()}/login/sso/callback/{company_id}"


def _made_of(secret: str, use: str) -> str:
    """Return a value of 43 characters that cannot be derived without the secret."""
    return urlsafe_b64encode(sha256(f"{use}:{secret}".encode()).digest()).rstrip(b"=").decode()


async def offer_name(pool: Pool, email: str) -> str | None:
    """Return the name of the provider of an address; None if there is none or it is no address."""
    try:
        found = await find_offer(pool, domain_of(email))
    except BadInputError:
        return None
    return found.name if found else None


async def begin(
    pool: Pool,
    providers: Providers,
    settings: Settings,
    email: str,
    *,
    next_path: str,
    is_kept: bool,
    trail: Trail,
) -> Departure:
    """Return where to send a person whose address has a provider.

    Raises BadInputError, NotFoundError (``sso.no_connection``), ProviderError, and RateLimitedError
    (``accounts.slow_down``) if a client begins too often.
    """
    normal = normal_email(email)
    await throttle(pool, "sso", None, plain_trail(trail))
    domain = normal.partition("@")[2]
    state, secret = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    begun = await begin_attempt(
        pool, domain, digest(state), digest(secret), next_path, is_kept=is_kept
    )
    if begun is None:
        raise NotFoundError("sso.no_connection", domain=domain)
    provider = await providers.find(begun.issuer)
    client = AsyncOAuth2Client(
        begun.client_id,
        scope="openid email profile",
        redirect_uri=callback_url(settings, begun.company_id),
        code_challenge_method="S256",
        transport=providers.transport,
    )
    url, _ = client.create_authorization_url(
        provider.authorization_endpoint,
        state=state,
        code_verifier=_made_of(secret, "verifier"),
        nonce=_made_of(secret, "nonce"),
        login_hint=normal,
    )
    return Departure(url, state, secret)


async def finish(
    pool: Pool,
    providers: Providers,
    settings: Settings,
    company_id: UUID,
    answer: Mapping[str, str],
    secret: str,
    trail: Trail,
) -> Arrival:
    """Sign in the person whom the provider names in its answer (the query of the callback).

    Raises SsoError, ProviderError, SetupError.
    """
    claimed = await _claim(pool, answer, secret)
    if claimed.company_id != company_id:
        raise SsoError("sso.mixed_up")
    if "error" in answer:
        raise SsoError("sso.refused", name=claimed.name)
    provider = await providers.find(claimed.issuer)
    if answer.get("iss", claimed.issuer) != claimed.issuer or (
        provider.names_itself and "iss" not in answer
    ):
        raise SsoError("sso.mixed_up")
    who = await _identify(providers, settings, provider, claimed, answer.get("code", ""), secret)
    token = secrets.token_urlsafe(32)
    life = KEPT if claimed.is_kept else SHORT
    try:
        done = await finish_attempt(pool, claimed, who, digest(token), life, plain_trail(trail))
    except psycopg.Error as error:
        if error.sqlstate != REACHED:
            raise
        raise SsoError("sso.no_seat", name=claimed.name) from None
    arrival = _arrived(claimed, done, token)
    async with pool.connection() as connection, connection.transaction():
        await release_throttle(connection, "sso", None, plain_trail(trail).ip)
    return arrival


def _arrived(claimed: ReturnedAttempt, done: SignOnOutcome, token: str) -> Arrival:
    if done.outcome != "signed_in" or done.expires_at is None:
        log.info("sso_denied", reason=done.outcome, connection=str(claimed.connection_id))
        raise SsoError(f"sso.{done.outcome}", name=claimed.name)
    return Arrival(token, done.expires_at, claimed.next_path, claimed.is_kept)


async def _claim(pool: Pool, answer: Mapping[str, str], secret: str) -> ReturnedAttempt:
    state = answer.get("state", "")
    if not state or len(state) > _MAX_RETURNED_LENGTH or not secret:
        raise SsoError("sso.other_browser" if state else "sso.unknown")
    claimed = await claim_attempt(pool, digest(state), digest(secret))
    if claimed.outcome != "claimed":
        raise SsoError(f"sso.{claimed.outcome}")
    return claimed


async def _identify(
    providers: Providers,
    settings: Settings,
    provider: Provider,
    claimed: ReturnedAttempt,
    code: str,
    secret: str,
) -> Identity:
    if not 0 < len(code) <= _MAX_RETURNED_LENGTH:
        raise SsoError("sso.bad_answer", name=claimed.name)
    tokens = await _exchange(providers, settings, provider, claimed, code, secret)
    id_token, access = tokens.get("id_token"), tokens.get("access_token")
    if not isinstance(id_token, str):
        raise SsoError("sso.bad_answer", name=claimed.name)
    try:
        found = await read_token(id_token, providers.keys, provider.jwks_uri, provider.algorithms)
        claims = CodeIDToken(
            found.claims,
            found.header,
            options={"iss": {"essential": True, "value": provider.issuer},
                     "aud": {"essential": True, "value": claimed.client_id}},
            params={"client_id": claimed.client_id, "nonce": _made_of(secret, "nonce"),
                    "access_token": access},
        )  # fmt: skip
        claims.validate(now=int(utc_now().timestamp()), leeway=LEEWAY)
    except (JoseError, ValueError, TypeError) as error:
        log.warning(
            "sso_token_refused", connection=str(claimed.connection_id), error=type(error).__name__
        )
        raise SsoError("sso.bad_answer", name=claimed.name) from None
    told_of: dict[str, Any] = dict(claims)
    if "email" not in told_of and provider.userinfo_endpoint and isinstance(access, str):
        more = await ask_json(
            providers.client, provider.userinfo_endpoint, {"authorization": f"Bearer {access}"}
        )
        if more.get("sub") == told_of["sub"]:  # Core 5.3.2
            told_of = {**more, **told_of}
    return read_identity(told_of)


def read_identity(claims: Mapping[str, Any]) -> Identity:
    """Return the person of verified claims; an invalid e-mail address counts as none.
    Raises SsoError.
    """
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= 255 or "\0" in subject:
        raise SsoError("sso.bad_subject")
    email: str | None = None
    if isinstance(claims.get("email"), str):
        try:
            email = normal_email(claims["email"])
        except BadInputError:
            email = None
    # Some providers, such as Cognito, send the word instead of the boolean.
    verified = claims.get("email_verified") is True or claims.get("email_verified") == "true"
    first, last = (_plain_name(claims.get(name)) for name in ("given_name", "family_name"))
    if first is None and (whole := _plain_name(claims.get("name"))):
        first, _, rest = whole.partition(" ")
        last = last or rest.strip() or None
    return Identity(subject, email, verified, first, last)


def _plain_name(found: object) -> str | None:
    if not isinstance(found, str):
        return None
    plain = without_hidden(found)[:_NAME].strip()
    return plain if reads_as_name(plain) else None


async def _exchange(
    providers: Providers,
    settings: Settings,
    provider: Provider,
    claimed: ReturnedAttempt,
    code: str,
    secret: str,
) -> dict[str, Any]:
    """Return the tokens for a code; try each supported method of client authentication."""
    client_secret = _client_secret(settings, claimed)
    ways = provider.client_auth if client_secret is not None else ("none",)
    for way in ways:
        try:
            async with asyncio.timeout(SECONDS):
                found = await _client(providers, claimed, client_secret, way).fetch_token(
                    provider.token_endpoint,
                    grant_type="authorization_code",
                    code=code,
                    code_verifier=_made_of(secret, "verifier"),
                    redirect_uri=callback_url(settings, claimed.company_id),
                )
            return dict(found)
        except OAuthError as error:
            if error.error == "invalid_client" and way != ways[-1]:
                continue
            raise _refused(claimed, str(error.error)) from None
        except (httpx.HTTPError, TimeoutError) as error:
            raise provider_error(error, provider.token_endpoint) from error
        except (ValueError, TypeError, KeyError, AttributeError):
            raise ProviderError(
                "sso.provider_wrong", url=provider.token_endpoint, what="no JSON"
            ) from None
    raise ProviderError("sso.provider_unsuitable", url=provider.issuer)


def _client(
    providers: Providers, claimed: ReturnedAttempt, client_secret: str | None, way: str
) -> AsyncOAuth2Client:
    """Return a client for one request; it is not closed, because all clients share the
    connections.
    """
    shown_id, shown_secret = claimed.client_id, client_secret
    if way == "client_secret_basic" and client_secret is not None:
        # RFC 6749, 2.3.1 requires form encoding of both values, which the library does not do.
        shown_id, shown_secret = quote_plus(shown_id), quote_plus(client_secret)
    return AsyncOAuth2Client(
        shown_id,
        shown_secret,
        token_endpoint_auth_method=way,
        transport=providers.transport,
        timeout=SECONDS,
    )


def _refused(claimed: ReturnedAttempt, error: str) -> SsoError:
    log.warning("sso_exchange_refused", connection=str(claimed.connection_id), error=error[:100])
    name = "client_refused" if error == "invalid_client" else "bad_answer"
    return SsoError(f"sso.{name}", name=claimed.name)


def _client_secret(settings: Settings, claimed: ReturnedAttempt) -> str | None:
    if claimed.client_secret_encrypted is None:
        return None
    if claimed.wrapped_key is None:
        raise SetupError("company_key_missing")
    return open_wrapped(
        settings,
        claimed.company_id,
        claimed.connection_id,
        claimed.wrapped_key,
        claimed.client_secret_encrypted,
    )
