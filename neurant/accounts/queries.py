"""Logins: the definers that a process may call while it is still nobody."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from neurant.accounts.schemas import SignedIn
from neurant.database.pool import Pool, fetch_one
from neurant.database.tenancy import Trail, come_from

_LOOKUP = "select auth_user_id, encrypted_password from private.login_lookup(%s)"
_OPEN = """
select company_id, user_id, expires_at
from private.open_login_session(%s, %s, %s::inet, %s, %s)
"""
_SESSION = """
select session_id, auth_user_id, company_id, user_id, role::text, first_name, last_name, email,
  company_name
from private.login_session(%s)
"""
_CLOSE = "select private.close_login_session(%s)"
_DENIED = "select private.note_denied_login(%s)"


@dataclass(frozen=True, slots=True)
class Login:
    """A login and the hash of its password; None where none was set."""

    auth_user_id: UUID
    encrypted_password: str | None


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session as the database made it."""

    company_id: UUID
    user_id: UUID
    expires_at: datetime


async def find_login(pool: Pool, email: str) -> Login | None:
    """The login of an e-mail address."""
    async with pool.connection() as connection:
        return await fetch_one(connection, Login, _LOOKUP, (email,))


async def insert_session(
    pool: Pool, login: UUID, digest: bytes, life: timedelta, trail: Trail
) -> StoredSession | None:
    """A session in the company worked in last; None where the person is active in none.

    ``trail.ip`` is an address or None.
    """
    async with pool.connection() as connection, connection.transaction():
        await come_from(connection, trail)
        parameters = (login, digest, trail.ip, trail.user_agent, life)
        return await fetch_one(connection, StoredSession, _OPEN, parameters)


async def note_denied_login(pool: Pool, login: UUID, trail: Trail) -> None:
    """A wrong password for a known login, for the audit of its companies."""
    async with pool.connection() as connection, connection.transaction():
        await come_from(connection, trail)
        await connection.execute(_DENIED, (login,))


async def find_session(pool: Pool, digest: bytes) -> SignedIn | None:
    """Who a session belongs to, while it, its user and the company stand."""
    async with pool.connection() as connection:
        return await fetch_one(connection, SignedIn, _SESSION, (digest,))


async def delete_session(pool: Pool, digest: bytes, trail: Trail) -> None:
    """Sign out."""
    async with pool.connection() as connection, connection.transaction():
        await come_from(connection, trail)
        await connection.execute(_CLOSE, (digest,))
