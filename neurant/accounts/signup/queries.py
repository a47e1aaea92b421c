"""Queries for sign-ups that wait for the confirmation of their address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from neurant.core.db.pool import Connection, Pool, fetch_one, fetch_value

_BEGIN = "select private.begin_sign_up(%s, %s, %s, %s, %s, %s, %s, %s)"
_RENEW = "select outcome, email, first_name from private.renew_sign_up(%s, %s, %s)"
_FIND = """
select state, email, first_name, encrypted_password, is_own from private.find_sign_up(%s, %s)
"""
_VERIFY = "select outcome, auth_user_id from private.verify_sign_up(%s, %s, %s, %s)"
_CLAIM = "select private.claim_sign_up(%s)"


@dataclass(frozen=True, slots=True)
class Renewed:
    """The recipient of another mail, and whether the address is ``new`` or ``has_account``."""

    outcome: Literal["new", "has_account"]
    email: str
    first_name: str


@dataclass(frozen=True, slots=True)
class SignUp:
    """A sign-up: ``pending``, ``verified`` or ``expired``; ``is_own``: this browser began it."""

    state: str
    email: str
    first_name: str
    encrypted_password: str
    is_own: bool


@dataclass(frozen=True, slots=True)
class Verified:
    """The outcome of a link or a code (``private.verify_sign_up`` lists the outcomes)."""

    outcome: Literal[
        "verified",
        "unknown",
        "verified_before",
        "expired",
        "password_needed",
        "too_many",
        "wrong_code",
        "taken",
    ]
    auth_user_id: UUID | None


async def insert_sign_up(
    connection: Connection,
    person: tuple[str, str, str, str],
    pending: bytes,
    link: bytes,
    code: bytes,
    *,
    accepts_terms: bool,
) -> bool:
    """Store a sign-up (address, names, password hash); return whether the address is new."""
    values = (*person, pending, link, code, accepts_terms)
    return await fetch_value(connection, _BEGIN, values) == "new"


async def renew_sign_up(
    connection: Connection, pending: bytes, link: bytes, code: bytes
) -> Renewed | None:
    """Store another link and code; return None if no sign-up waits."""
    return await fetch_one(connection, Renewed, _RENEW, (pending, link, code))


async def find_sign_up(pool: Pool, pending: bytes | None, link: bytes | None) -> SignUp | None:
    """Return the sign-up of a link, else that of a browser."""
    async with pool.connection() as connection:
        return await fetch_one(connection, SignUp, _FIND, (pending, link))


async def verify(
    connection: Connection,
    pending: bytes | None,
    link: bytes | None,
    code: bytes | None,
    *,
    proven: bool,
) -> Verified:
    """Create the login if the link or the code is right."""
    found = await fetch_one(connection, Verified, _VERIFY, (pending, link, code, proven))
    return found or Verified("unknown", None)


async def claim(connection: Connection, pending: bytes) -> UUID | None:
    """Return the login of a sign-up that was verified on another device, once."""
    login = await fetch_value(connection, _CLAIM, (pending,))
    return login if isinstance(login, UUID) else None
