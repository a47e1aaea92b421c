"""Queries for links that set a new password."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from neurant.core.db.pool import Connection, Pool, fetch_one

_BEGIN = "select auth_user_id, first_name from private.begin_password_reset(%s, %s)"
_FIND = "select state, email from private.find_password_reset(%s)"
_FINISH = "select outcome, auth_user_id, email from private.finish_password_reset(%s, %s)"


@dataclass(frozen=True, slots=True)
class ResetRequester:
    """A login whose password is forgotten; the name is None if it is not known."""

    auth_user_id: UUID
    first_name: str | None


@dataclass(frozen=True, slots=True)
class Link:
    """A mailed link: its state (``open``, ``used`` or ``expired``) and its address."""

    state: str
    email: str


@dataclass(frozen=True, slots=True)
class ResetOutcome:
    """The outcome of a reset: ``changed``, ``unknown``, ``used`` or ``expired``."""

    outcome: Literal["changed", "unknown", "used", "expired"]
    auth_user_id: UUID | None
    email: str | None


async def insert_reset(connection: Connection, email: str, digest: bytes) -> ResetRequester | None:
    """Store a link for this address; return None if the address has no account."""
    return await fetch_one(connection, ResetRequester, _BEGIN, (email, digest))


async def find_reset(pool: Pool, digest: bytes) -> Link | None:
    """Return the state of a link; None for a link that we never sent."""
    async with pool.connection() as connection:
        return await fetch_one(connection, Link, _FIND, (digest,))


async def finish_reset(connection: Connection, digest: bytes, password_hash: str) -> ResetOutcome:
    """Set the password with a link, once."""
    found = await fetch_one(connection, ResetOutcome, _FINISH, (digest, password_hash))
    return found or ResetOutcome("unknown", None, None)
