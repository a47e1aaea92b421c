"""The second step of a login, and logins that wait for it."""

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
    """The sealed secret of a second step, and whether it counts already."""

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
    """The second step of a login; None also where its secret still waits for the first code."""
    async with pool.connection() as connection:
        return await fetch_one(connection, Factor, _FACTOR, (login,))


async def find_waiting_secret(pool: Pool, session: bytes) -> bytes | None:
    """The sealed secret that waits for its first code. Raises ForbiddenError (``limits_told``)."""
    with limits_told():
        async with pool.connection() as connection:
            found = await fetch_value(connection, _WAITING, (session,))
    return found if isinstance(found, bytes) else None


async def use_step(connection: Connection, login: UUID, step: int) -> bool:
    """Take the code of a time step; False if it or a later one was taken before."""
    return await fetch_value(connection, _USE_STEP, (login, step)) is True


async def use_recovery_code(connection: Connection, login: UUID, code_digest: bytes) -> bool:
    """Take a recovery code; False if there is none such (any more)."""
    return await fetch_value(connection, _USE_CODE, (login, code_digest)) is True


async def begin_factor(connection: Connection, session: bytes, sealed: bytes) -> bool:
    """A secret that waits for its first code; False where one counts already."""
    return await fetch_value(connection, _BEGIN, (session, sealed)) is True


async def confirm_factor(
    connection: Connection, session: bytes, new_session: bytes, step: int, codes: list[bytes]
) -> bool:
    """The secret counts from now; False where none waits."""
    parameters = (session, new_session, step, codes)
    return await fetch_value(connection, _CONFIRM, parameters) is True


async def renew_codes(connection: Connection, session: bytes, codes: list[bytes]) -> bool:
    """Other recovery codes; False where the second step is off."""
    return await fetch_value(connection, _RENEW_CODES, (session, codes)) is True


async def disable_factor(connection: Connection, session: bytes, new_session: bytes) -> bool:
    """The second step is off; False where it was."""
    return await fetch_value(connection, _DISABLE, (session, new_session)) is True


async def open_challenge(pool: Pool, login: UUID, digest: bytes, *, keep: bool) -> None:
    """Ten minutes for the code."""
    async with pool.connection() as connection:
        await connection.execute(_OPEN_CHALLENGE, (login, digest, keep))


async def find_challenge(pool: Pool, digest: bytes) -> Challenge | None:
    """Whose login waits, while it does."""
    async with pool.connection() as connection:
        return await fetch_one(connection, Challenge, _CHALLENGE, (digest,))


async def close_challenge(connection: Connection, digest: bytes) -> bool:
    """Done or given up; False where somebody was faster."""
    return await fetch_value(connection, _CLOSE_CHALLENGE, (digest,)) is True
