"""Queries for the sessions of a person, their password, and their profile in the company."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from uuid import UUID

from neurant.core.db.pool import Connection, Pool, fetch_all, fetch_count, fetch_one, fetch_value

_SESSIONS = """
select session_id, ip_address, user_agent, company_name, created_at, last_seen_at, expires_at,
  is_current
from private.my_sessions(%s)
"""
_END = "select private.end_sessions(%s, %s)"
_PASSWORD = "select private.change_password(%s, %s, %s)"  # noqa: S105 - a statement
_PROFILE = """
select first_name, last_name, phone, avatar_url from public.users
where id = (select private.user_id())
"""
_IS_READ_ONLY = """
select c.subscription_status in ('inactive', 'cancelled') from public.companies c where c.id = %s
"""
_LOCKED_PROFILE = _PROFILE + "for update"
_CHANGE_PROFILE = """
update public.users
set first_name = %s, last_name = %s, phone = %s, avatar_url = %s
where id = (select private.user_id())
"""


@dataclass(frozen=True, slots=True)
class Session:
    """An open session of a person."""

    session_id: UUID
    ip_address: IPv4Address | IPv6Address | None
    user_agent: str | None
    company_name: str | None
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    is_current: bool


@dataclass(frozen=True, slots=True)
class Profile:
    """The part of a person that colleagues see."""

    first_name: str
    last_name: str
    phone: str | None
    avatar_url: str | None


async def list_sessions(pool: Pool, session: bytes) -> list[Session]:
    """Return the person's open sessions: this one first, then by last use."""
    async with pool.connection() as connection:
        return await fetch_all(connection, Session, _SESSIONS, (session,))


async def end_sessions(connection: Connection, session: bytes, which: UUID | None) -> int:
    """End one of the person's sessions, or all others (None); return how many ended."""
    return await fetch_count(connection, _END, (session, which))


async def change_password(
    connection: Connection, session: bytes, new_session: bytes, password_hash: str
) -> bool:
    """Set another password; this session continues under a new token, the others end."""
    return await fetch_value(connection, _PASSWORD, (session, new_session, password_hash)) is True


async def find_profile(connection: Connection, *, locked: bool = False) -> Profile | None:
    """Return the caller's own profile in the company; ``locked``: only if they may change it."""
    return await fetch_one(connection, Profile, _LOCKED_PROFILE if locked else _PROFILE)


async def is_read_only(connection: Connection, company_id: UUID) -> bool:
    """Return whether the company is unpaid or closed, so that it can be read but not changed."""
    return await fetch_value(connection, _IS_READ_ONLY, (company_id,)) is True


async def update_profile(connection: Connection, profile: Profile) -> None:
    """Change the caller's own profile."""
    values = (profile.first_name, profile.last_name, profile.phone, profile.avatar_url)
    await connection.execute(_CHANGE_PROFILE, values)
