"""Queries for logins: the database functions that a process calls before it knows the caller."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from neurant.core.db.pool import Connection, Pool, fetch_all, fetch_count, fetch_one, fetch_value
from neurant.core.db.tenancy import Trail, come_from

ThrottleKind = Literal["password", "code", "sign_up", "reset", "sso"]
MailPurpose = Literal["sign_up", "verification", "reset"]

_LOOKUP = "select auth_user_id, encrypted_password from private.login_lookup(%s)"
_REHASH = "select private.rehash_password(%s, %s, %s)"
_CONTEXT = "select private.password_context(%s)"
_THROTTLE = """
select wait, next_wait from private.brake(%s, %s, %s::inet, p_device => %s)
"""
_RELEASE = "select private.release_brake(%s, %s, %s::inet, %s)"
_ALLOW_MAIL = "select private.allow_mail(%s, %s)"
_REFUSED = "select private.note_refused_login(%s, %s, %s)"
_OPEN = """
select session_id, company_id, user_id, expires_at
from private.open_session(%s, %s, %s::inet, %s, %s, %s)
"""
_COMPANIES = "select company_id, name, slug, role::text, is_current from private.my_companies(%s)"
_LOST = "select * from private.lost_companies(%s)"
_ENTER = "select outcome from private.enter_company(%s, %s)"
_CLOSE = "select private.close_login_session(%s)"


@dataclass(frozen=True, slots=True)
class Login:
    """A login and the hash of its password; None if it has no password."""

    auth_user_id: UUID
    encrypted_password: str | None


@dataclass(frozen=True, slots=True)
class Throttle:
    """The seconds to wait now (the attempt was not counted), and after this attempt if it fails."""

    wait: int
    next_wait: int


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session as the database stores it; without a company if the person belongs to none."""

    session_id: UUID
    company_id: UUID | None
    user_id: UUID | None
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class CompanyRow:
    """A company in which the person may work."""

    company_id: UUID
    name: str
    slug: str
    role: str
    is_current: bool


async def find_login(pool: Pool, email: str) -> Login | None:
    """Return the login of an e-mail address."""
    async with pool.connection() as connection:
        return await fetch_one(connection, Login, _LOOKUP, (email,))


async def rehash_password(pool: Pool, login: Login, password_hash: str) -> None:
    """Store another hash of the same password, unless the password has changed meanwhile."""
    async with pool.connection() as connection:
        parameters = (login.auth_user_id, login.encrypted_password, password_hash)
        await connection.execute(_REHASH, parameters)


async def find_password_context(pool: Pool, digest: bytes) -> list[str]:
    """Return the names of the person and of their companies, by a session or a mailed
    reset link.
    """
    async with pool.connection() as connection:
        found = await fetch_value(connection, _CONTEXT, (digest,))
    return [str(name) for name in found] if isinstance(found, list) else []


async def count_attempt(
    pool: Pool,
    kind: ThrottleKind,
    email: str | None,
    address: str | None,
    device: str | None = None,
) -> Throttle:
    """Count an attempt before it is checked, in a transaction of its own.

    ``device`` is a browser that the person is known to have used; attempts from other browsers do
    not count against it.
    """
    async with pool.connection() as connection:
        found = await fetch_one(connection, Throttle, _THROTTLE, (kind, email, address, device))
    return found or Throttle(0, 0)


async def release_throttle(
    connection: Connection,
    kind: ThrottleKind,
    email: str | None,
    address: str | None,
    device: str | None = None,
) -> None:
    """Reset the throttle after a successful attempt."""
    await connection.execute(_RELEASE, (kind, email, address, device))


async def allow_mail(connection: Connection, purpose: MailPurpose, email: str) -> int:
    """Return 0 and count a mail if the address may be written to now, else the seconds to wait."""
    return await fetch_count(connection, _ALLOW_MAIL, (purpose, email))


async def insert_session(
    connection: Connection,
    login: UUID,
    digest: bytes,
    life: timedelta,
    trail: Trail,
    company_id: UUID | None = None,
) -> StoredSession | None:
    """Open a session in the given company, else in the one last worked in, else in none.

    ``trail.ip`` is an address or None. Return None if the person may not enter the given company.
    """
    await come_from(connection, trail)
    parameters = (login, digest, trail.ip, trail.user_agent, life, company_id)
    return await fetch_one(connection, StoredSession, _OPEN, parameters)


async def note_refused_login(
    pool: Pool, login: UUID, reason: str, locked_seconds: int, trail: Trail
) -> None:
    """Record a wrong password or code of a known login in the audit of its companies."""
    async with pool.connection() as connection, connection.transaction():
        await come_from(connection, trail)
        await connection.execute(_REFUSED, (login, reason, locked_seconds))


async def find_sso_instead(pool: Pool, login: UUID) -> str | None:
    """Return the name of the provider that this person must use; None if a password opens
    a company.
    """
    async with pool.connection() as connection:
        found = await fetch_value(connection, "select private.sso_instead(%s)", (login,))
    return str(found) if found is not None else None


async def list_companies(pool: Pool, digest: bytes) -> list[CompanyRow]:
    """Return the companies in which the person of the session may work, by name."""
    async with pool.connection() as connection:
        return await fetch_all(connection, CompanyRow, _COMPANIES, (digest,))


async def list_lost_companies(pool: Pool, digest: bytes) -> list[str]:
    """Return the names of the companies that deactivated the person of the session."""
    async with pool.connection() as connection:
        rows = await connection.execute(_LOST, (digest,))
        return [str(name) for (name,) in await rows.fetchall()]


async def enter_company(pool: Pool, digest: bytes, company_id: UUID, trail: Trail) -> str:
    """Move the session to another company: ``entered``, ``not_found`` or ``ended``."""
    async with pool.connection() as connection, connection.transaction():
        await come_from(connection, trail)
        return str(await fetch_value(connection, _ENTER, (digest, company_id)))


async def delete_session(pool: Pool, digest: bytes, trail: Trail) -> None:
    """Sign out."""
    async with pool.connection() as connection, connection.transaction():
        await come_from(connection, trail)
        await connection.execute(_CLOSE, (digest,))
