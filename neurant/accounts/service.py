"""Signing in: the password, the second step, and the session that they open."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import ip_address
from uuid import UUID, uuid4

from neurant.accounts import factor_queries as factors
from neurant.accounts.queries import (
    ThrottleKind,
    count_attempt,
    enter_company,
    find_login,
    find_sso_instead,
    insert_session,
    note_refused_login,
    rehash_password,
    release_throttle,
)
from neurant.accounts.schemas import OpenedSession
from neurant.auth.codes import (
    digest,
    keyed_digest,
    matching_step,
    new_token,
    plain_digits,
    plain_recovery_code,
)
from neurant.auth.passwords import Match, compare, hashed, matches
from neurant.core.clock import utc_now
from neurant.core.db.pool import Connection, Pool
from neurant.core.db.tenancy import Trail, come_from
from neurant.core.emails import looked_up
from neurant.core.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    UnauthenticatedError,
)
from neurant.core.settings import Settings
from neurant.core.vault import Vault

KEPT = timedelta(days=30)
SHORT = timedelta(hours=12)
KEPT_IDLE = timedelta(days=7)  # without use, for a person who chose to stay signed in
FACTOR = "two_step"
_AGENT_CHARACTERS = 300


class SecondFactorNeededError(UnauthenticatedError):
    """The password is right, and this login also requires a code."""

    def __init__(self, login: UUID) -> None:
        super().__init__("accounts.second_factor_needed")
        self.login = login


async def sign_in(
    pool: Pool,
    settings: Settings,
    email: str,
    password: str,
    *,
    trail: Trail,
    keep: bool,
    code: str | None = None,
    device: str | None = None,
) -> OpenedSession:
    """Open a session for a person who knows the password, and the code if the login requires one.

    An unknown address costs the same hash as a known one and is refused in the same way. ``device``
    is a browser that this person is known to have used; attempts from other browsers do not
    throttle it.

    Raises UnauthenticatedError (``accounts.wrong_login``, ``accounts.wrong_code``,
    ``sso.required``), SecondFactorNeededError and RateLimitedError (``accounts.slow_down``).
    """
    login = await check_password(pool, email, password, trail=trail, device=device)
    await check_sso(pool, login)
    factor = await factors.find_factor(pool, login)
    if factor is not None and factor.is_confirmed:
        if not code:
            raise SecondFactorNeededError(login)
        await check_code(pool, settings, login, looked_up(email), code, trail=trail, device=device)
    async with pool.connection() as connection, connection.transaction():
        return await open_session(connection, login, trail=trail, keep=keep)


async def check_sso(pool: Pool, login: UUID) -> None:
    """Raise UnauthenticatedError (``sso.required``) if no company of the person accepts
    their password.
    """
    name = await find_sso_instead(pool, login)
    if name is not None:
        raise UnauthenticatedError("sso.required", name=name)


async def check_password(
    pool: Pool, email: str, password: str, *, trail: Trail, device: str | None = None
) -> UUID:
    """Return the login of this password, and audit a refusal. Raises the errors of ``sign_in``."""
    email, trail = looked_up(email), plain_trail(trail)
    next_wait = await throttle(pool, "password", email, trail, device)
    login = await find_login(pool, email)
    found = await compare(login.encrypted_password if login else None, password)
    if login is None or found is Match.WRONG:
        # The audit is also written for an unknown address, so that both cases take the same time.
        known = login.auth_user_id if login else uuid4()
        await note_refused_login(pool, known, "password", next_wait, trail)
        raise UnauthenticatedError("accounts.wrong_login")
    async with pool.connection() as connection, connection.transaction():
        await release_throttle(connection, "password", email, trail.ip, device)
    if found is Match.OUTDATED:
        await rehash_password(pool, login, await hashed(password))
    return login.auth_user_id


async def find_own_login(pool: Pool, email: str, password: str) -> UUID | None:
    """Return the login of an address, or None if there is none.

    Raises ConflictError (``accounts.email_taken``) if the password is not that of the login.
    """
    login = await find_login(pool, email)
    if login is None:
        return None
    if not await matches(login.encrypted_password, password):
        raise ConflictError("accounts.email_taken", email=email)
    return login.auth_user_id


async def choose_company(pool: Pool, digest: bytes, company_id: UUID, trail: Trail) -> None:
    """Move the session with this digest to another company. Raises NotFoundError."""
    if await enter_company(pool, digest, company_id, plain_trail(trail)) != "entered":
        raise NotFoundError("not_found")


async def check_code(
    pool: Pool,
    settings: Settings,
    login: UUID,
    email: str,
    code: str,
    *,
    trail: Trail,
    now: datetime | None = None,
    device: str | None = None,
) -> None:
    """Use a code of the authenticator app, or a recovery code; each code is valid once.

    Raises UnauthenticatedError (``accounts.wrong_code``), RateLimitedError.
    """
    trail = plain_trail(trail)
    next_wait = await throttle(pool, "code", email, trail, device)
    if await _takes_code(pool, settings, login, code, trail, now or utc_now()):
        async with pool.connection() as connection, connection.transaction():
            await release_throttle(connection, "code", email, trail.ip, device)
        return
    await note_refused_login(pool, login, "code", next_wait, trail)
    raise UnauthenticatedError("accounts.wrong_code")


async def _takes_code(
    pool: Pool, settings: Settings, login: UUID, code: str, trail: Trail, now: datetime
) -> bool:
    factor = await factors.find_factor(pool, login)
    if factor is None or not factor.is_confirmed:
        return False
    secret = Vault(settings).open(FACTOR, login, factor.secret_encrypted)
    step = matching_step(secret, plain_digits(code), now)
    async with pool.connection() as connection, connection.transaction():
        await come_from(connection, trail)
        if step is not None:
            return await factors.use_step(connection, login, step)
        stored = keyed_digest(settings, "recovery", login.bytes, plain_recovery_code(code))
        return await factors.use_recovery_code(connection, login, stored)


async def open_session(
    connection: Connection,
    login: UUID,
    *,
    trail: Trail,
    keep: bool,
    company_id: UUID | None = None,
) -> OpenedSession:
    """Open a session for this login, in the caller's transaction.

    With ``company_id`` the session works in that company; without it, in the company last worked
    in, or in none if the person belongs to none. Raises ForbiddenError (``accounts.not_a_member``).
    """
    token, life = new_token(), KEPT if keep else SHORT
    known = plain_trail(trail)
    stored = await insert_session(connection, login, digest(token), life, known, company_id)
    if stored is None:
        raise ForbiddenError("accounts.not_a_member")
    return OpenedSession(token, stored.expires_at, stored.company_id)


async def throttle(
    pool: Pool, kind: ThrottleKind, email: str | None, trail: Trail, device: str | None = None
) -> int:
    """Count an attempt and return the seconds to wait if it fails.

    Raises RateLimitedError (``accounts.slow_down``) while the person must wait.
    """
    throttled = await count_attempt(pool, kind, email, trail.ip, device)
    if throttled.wait > 0:
        raise RateLimitedError("accounts.slow_down", seconds=throttled.wait)
    return throttled.next_wait


def plain_trail(trail: Trail) -> Trail:
    """Return the trail in a form that a column accepts: an IP address or None, a short
    user agent.
    """
    agent = (trail.user_agent or "").replace("\0", "")[:_AGENT_CHARACTERS]
    return replace(trail, ip=_plain_address(trail.ip), user_agent=agent)


def _plain_address(address: str | None) -> str | None:
    """Return the address if it is an IP address; a test client or a Unix socket has none."""
    try:
        return str(ip_address((address or "").partition("%")[0]))
    except ValueError:
        return None
