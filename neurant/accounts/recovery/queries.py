"""Links for a new password."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from neurant.core.db.pool import Connection, Pool, fetch_one

_BEGIN = "select auth_user_id, first_name from private.begin_password_reset(%s, %s)"
_FIND = "select state, email from private.find_password_reset(%s)"
_FINISH = "select outcome, auth_user_id, email from private.finish_password_reset(%s, %s)"


@dataclass(frozen=True, slots=True)
class Forgetful:
    """Who forgot the password; the name as far as it is known."""

    auth_user_id: UUID
    first_name: str | None


@dataclass(frozen=True, slots=True)
class Link:
    """A mailed link: ``open``, ``used`` or ``expired``, and whose."""

    state: str
    email: str


@dataclass(frozen=True, slots=True)
class Finished:
    """``changed``, ``unknown``, ``used`` or ``expired``."""

    outcome: str
    auth_user_id: UUID | None
    email: str | None


async def insert_reset(connection: Connection, email: str, digest: bytes) -> Forgetful | None:
    """Keep a link for this address; None where it has no account."""
    return await fetch_one(connection, Forgetful, _BEGIN, (email, digest))


async def find_reset(pool: Pool, digest: bytes) -> Link | None:
    """What a link is worth; None for one that we never sent."""
    async with pool.connection() as connection:
        return await fetch_one(connection, Link, _FIND, (digest,))


async def finish_reset(connection: Connection, digest: bytes, password_hash: str) -> Finished:
    """Set the password by a link, once."""
    found = await fetch_one(connection, Finished, _FINISH, (digest, password_hash))
    return found or Finished("unknown", None, None)
