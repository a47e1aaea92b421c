"""Queries for the second step of a login, and for logins that wait for its code."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from neurant.auth.limited_sessions import limits_told
from neurant.core.db.pool import Connection, Pool, fetch_one, fetch_value

_FACTOR = """
select secret_encrypted, is_confirmed, created_at, codes_left from private.find_factor(%s)
"""
_WAITING = "select private.waiting_factor(%s)"
_USE_STEP = "select private.use_factor_step(%s, %s)"
_USE_CODE = "select private.use_recovery_code(%s, %s)"
_BEGIN = "select private.begin_factor(%s, %s)"
_CONFIRM = "select private.confirm_factor(%s, %s, %s, %s)"
_RENEW_CODES = "select private.renew_recovery_codes(%s, %s)"
_DISABLE = "select private.disable_factor(%s, %s)"
_OPEN_CHALLENGE = "select private.open_challenge(%s, %s, %s)"
_CHALLENGE = "select auth_user_id, email, is_kept from private.find_challenge(%s)"
_CLOSE_CHALLENGE = "select private.close_challenge(%s)"


@dataclass(frozen=True, slots=True)
class Factor:
    """The sealed secret of a second step, and whether the second step is on."""

    secret_encrypted: bytes
    is_confirmed: bool
    created_at: datetime
    codes_left: int


@dataclass(frozen=True, slots=True)
class Challenge:
    """A login that waits for its code."""

    auth_user_id: UUID
    email: str
    is_kept: bool


async def find_factor(pool: Pool, login: UUID) -> Factor | None:
    """Return the second step of a login; None also while its secret waits for the first code."""
    async with pool.connection() as connection:
        return await fetch_one(connection, Factor, _FACTOR, (login,))


async def find_waiting_secret(pool: Pool, session: bytes) -> bytes | None:
    """Return the sealed secret that waits for its first code, or None. Raises ForbiddenError
    (``limits_told``).
    """
    with limits_told():
        async with pool.connection() as connection:
            found = await fetch_value(connection, _WAITING, (session,))
    return found if isinstance(found, bytes) else None


async def use_step(connection: Connection, login: UUID, step: int) -> bool:
    """Use the code of a time step; return False if that step or a later one was used before."""
    return await fetch_value(connection, _USE_STEP, (login, step)) is True


async def use_recovery_code(connection: Connection, login: UUID, code_digest: bytes) -> bool:
    """Use a recovery code; return False if the login has no such unused code."""
    return await fetch_value(connection, _USE_CODE, (login, code_digest)) is True


async def begin_factor(connection: Connection, session: bytes, sealed: bytes) -> bool:
    """Store a secret that waits for its first code; return False if the second step is on."""
    return await fetch_value(connection, _BEGIN, (session, sealed)) is True


async def confirm_factor(
    connection: Connection, session: bytes, new_session: bytes, step: int, codes: list[bytes]
) -> bool:
    """Turn the second step on; return False if no secret waits for its first code."""
    parameters = (session, new_session, step, codes)
    return await fetch_value(connection, _CONFIRM, parameters) is True


async def renew_codes(connection: Connection, session: bytes, codes: list[bytes]) -> bool:
    """Replace the recovery codes; return False if the second step is off."""
    return await fetch_value(connection, _RENEW_CODES, (session, codes)) is True


async def disable_factor(connection: Connection, session: bytes, new_session: bytes) -> bool:
    """Turn the second step off; return False if it was off."""
    return await fetch_value(connection, _DISABLE, (session, new_session)) is True


async def open_challenge(pool: Pool, login: UUID, digest: bytes, *, keep: bool) -> None:
    """Note that a login waits for its code, for ten minutes."""
    async with pool.connection() as connection:
        await connection.execute(_OPEN_CHALLENGE, (login, digest, keep))


async def find_challenge(pool: Pool, digest: bytes) -> Challenge | None:
    """Return the login that waits for its code, or None if it no longer waits."""
    async with pool.connection() as connection:
        return await fetch_one(connection, Challenge, _CHALLENGE, (digest,))


async def close_challenge(connection: Connection, digest: bytes) -> bool:
    """Delete a challenge that is done or given up; return False if another request
    deleted it first.
    """
    return await fetch_value(connection, _CLOSE_CHALLENGE, (digest,)) is True
