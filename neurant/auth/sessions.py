"""Sessions: the database functions that find the person of a token."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from neurant.auth.limited_sessions import limits_told
from neurant.auth.people import SignedIn
from neurant.core.db.pool import ANYBODY, Pool, fetch_count, fetch_one, fetch_value, sharing
from neurant.core.db.tenancy import SessionToken, company_of, remember
from neurant.core.errors import UnauthenticatedError

_SESSION = """
select session_id, auth_user_id, company_id, user_id, role::text, first_name, last_name, email,
  company_name
from private.login_session(%s)
"""
_PERSON = """
select session_id, auth_user_id, email, first_name, last_name, company_id, user_id, created_at,
  expires_at, is_limited
from private.find_auth_session(%s)
"""
_OWN_LOGIN = "select private.own_login(%s)"
_RULES = "select private.set_session_rules(%s, %s)"
_IDLE = "select private.ended_by_idleness(%s)"
_PASSIVE = "select set_config('request.is_passive', 'on', true)"


@dataclass(frozen=True, slots=True)
class PersonRow:
    """The person of a session, in a company or in none.

    ``is_limited`` is set if the single sign-on of a company opened the session; it then acts for
    nothing outside that company (``check_own_login``).
    """

    session_id: UUID
    auth_user_id: UUID
    email: str
    first_name: str | None
    last_name: str | None
    company_id: UUID | None
    user_id: UUID | None
    created_at: datetime
    expires_at: datetime
    is_limited: bool


async def find_session(pool: Pool, digest: bytes, *, passive: bool = False) -> SignedIn | None:
    """Return the staff member of a session while session, user and company are active, else None.

    ``passive``: a page sent the request by itself, which does not prolong the session.
    """
    credential = SessionToken(digest)
    with sharing(company_of(credential) or ANYBODY):
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(pool.connection())
            if passive:  # the setting is local to a transaction
                await stack.enter_async_context(connection.transaction())
                await connection.execute(_PASSIVE)
            found = await fetch_one(connection, SignedIn, _SESSION, (digest,))
    if found is not None:
        remember(credential, found.company_id)
    return found


async def ended_by_idleness(pool: Pool, digest: bytes) -> bool:
    """Return whether a session ended only because it was not used."""
    async with pool.connection() as connection:
        return await fetch_value(connection, _IDLE, (digest,)) is True


async def set_session_rules(pool: Pool, idle: timedelta, kept_idle: timedelta) -> None:
    """Set the time without use after which new sessions end."""
    async with pool.connection(timeout=2) as connection:
        await connection.execute(_RULES, (idle, kept_idle))


async def find_person(pool: Pool, digest: bytes) -> PersonRow | None:
    """Return the person of a session, also one without a company; None if it is not valid."""
    async with pool.connection() as connection:
        return await fetch_one(connection, PersonRow, _PERSON, (digest,))


async def check_own_login(pool: Pool, digest: bytes) -> None:
    """Check that a session may change its login, before anything of the login is read or counted.

    Raises UnauthenticatedError (the session has ended), ForbiddenError (``limits_told``).
    """
    with limits_told():
        async with pool.connection() as connection:
            login = await fetch_value(connection, _OWN_LOGIN, (digest,))
    if login is None:
        raise UnauthenticatedError("accounts.session_expired")


async def count_memberships(pool: Pool, login: UUID) -> int:
    """Return the number of companies between which the person of a token may choose."""
    async with pool.connection() as connection:
        return await fetch_count(connection, "select private.memberships(%s)", (login,))
