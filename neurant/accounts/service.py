"""Signing in: the password check, its cost, and the tokens of sessions."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from hashlib import sha256
from ipaddress import ip_address
from uuid import uuid4

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from neurant.accounts.queries import Login, find_login, insert_session, note_denied_login
from neurant.accounts.schemas import LONGEST_PASSWORD, OpenedSession
from neurant.accounts.throttle import Throttle
from neurant.database.pool import Pool
from neurant.database.tenancy import Trail
from neurant.errors import BadInputError, UnauthenticatedError

KEPT = timedelta(days=30)
SHORT = timedelta(hours=12)
_AGENT_CHARACTERS = 300
_SHORTEST_PASSWORD = 10
# RFC 9106, second recommendation, is argon2-cffi's default: 64 MiB, 3 passes.
_hasher = PasswordHasher()
# A hash takes 64 MiB and most of a core: a flood of logins queues instead of starving the rest.
_hashing = asyncio.Semaphore(2)
_throttle = Throttle()


def digest(token: str) -> bytes:
    """What is kept of a token: it is random, so a plain hash cannot be guessed back."""
    return sha256(token.encode()).digest()


def hash_password(password: str) -> str:
    """The argon2id hash of a password."""
    return _hasher.hash(password)


def check_new_password(password: str, email: str) -> None:
    """Refuse a password that is quickly guessed. Raises BadInputError."""
    name = email.partition("@")[0]
    known = password.lower() in (email, name * 2) or len(set(password)) < 4
    if known or not _SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise BadInputError("accounts.weak_password", least=_SHORTEST_PASSWORD)


async def is_password_of(login: Login, password: str) -> bool:
    """Whether somebody who types this knows the login's password."""
    if login.encrypted_password is None:
        return False
    return await asyncio.to_thread(_matches, login.encrypted_password, password)


@lru_cache(maxsize=1)
def _nobodys_hash() -> str:
    return _hasher.hash(secrets.token_urlsafe())


def _matches(known: str, password: str) -> bool:
    try:
        return _hasher.verify(known, password)
    except (VerificationError, InvalidHashError):
        return False


async def sign_in(
    pool: Pool, email: str, password: str, *, trail: Trail, keep: bool
) -> OpenedSession:
    """A session for a person who knows the password.

    An unknown address costs the same hash as a known one, and is refused the same way.
    Raises UnauthenticatedError (``accounts.wrong_login``) and RateLimitedError
    (``accounts.slow_down``).
    """
    email = email.strip().lower()
    address = trail.ip
    agent = (trail.user_agent or "")[:_AGENT_CHARACTERS]
    trail = replace(trail, ip=_plain_address(address), user_agent=agent)
    _throttle.check(email, address)
    _throttle.count(email, address)
    login = await find_login(pool, email) if "\0" not in email else None
    known = login.encrypted_password if login else None
    async with _hashing:
        matches = await asyncio.to_thread(
            _matches, known or _nobodys_hash(), password[:LONGEST_PASSWORD]
        )
    if login is None or known is None or not matches:
        # For an address that nobody has, too, so that both take the same time.
        await note_denied_login(pool, login.auth_user_id if login else uuid4(), trail)
        raise UnauthenticatedError("accounts.wrong_login")
    token = secrets.token_urlsafe(32)
    life = KEPT if keep else SHORT
    stored = await insert_session(pool, login.auth_user_id, digest(token), life, trail)
    if stored is None:  # nobody active is left behind this login
        raise UnauthenticatedError("accounts.wrong_login")
    _throttle.succeeded(email, address)
    return OpenedSession(token, stored.expires_at)


def _plain_address(address: str | None) -> str | None:
    """The address if it is one: a test client or a Unix socket has none."""
    try:
        return str(ip_address(address or ""))
    except ValueError:
        return None
