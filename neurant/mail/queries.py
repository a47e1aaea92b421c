"""The mail queue: written through a definer function, leased by the worker."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from neurant.core.db.pool import Connection, Pool, fetch_all, fetch_value

_QUEUE = "select private.queue_mail(%s, %s, %s, %s, %s, %s)"
_CLAIM = """
select mail_id, to_address, template, language, params_encrypted, created_at, claim_token
from private.claim_mails(%s, %s)
"""
_SETTLE = "select private.settle_mail(%s, %s, %s, %s)"


@dataclass(frozen=True, slots=True)
class LeasedMail:
    """A mail that this worker may send until its lease ends."""

    mail_id: UUID
    to_address: str
    template: str
    language: str
    params_encrypted: bytes = field(repr=False)
    created_at: datetime
    claim_token: UUID


async def insert_mail(
    connection: Connection,
    mail_id: UUID,
    company_id: UUID | None,
    to: str,
    template: str,
    language: str,
    params_encrypted: bytes,
) -> None:
    """Queue a mail in the caller's transaction."""
    parameters = (mail_id, company_id, to, template, language, params_encrypted)
    await connection.execute(_QUEUE, parameters)


async def claim_mails(pool: Pool, most: int, lease: timedelta) -> list[LeasedMail]:
    """Lease up to ``most`` mails that are due. ``pool`` is the worker's login."""
    async with pool.connection() as connection:
        return await fetch_all(connection, LeasedMail, _CLAIM, (most, lease))


async def settle_mail(pool: Pool, claimed: LeasedMail, outcome: str, error: str | None) -> str:
    """Record an attempt; return ``sent``, ``pending``, ``failed``, or ``lost`` with the lease."""
    async with pool.connection() as connection:
        parameters = (claimed.mail_id, claimed.claim_token, outcome, error)
        return str(await fetch_value(connection, _SETTLE, parameters))


async def next_mail_due(pool: Pool) -> datetime | None:
    """Return when the next mail is due by the database's clock, None if none is."""
    async with pool.connection() as connection:
        due = await fetch_value(connection, "select private.next_mail_due()")
    return due if isinstance(due, datetime) else None


async def drop_old_mails(pool: Pool) -> None:
    """Delete the mails that were settled a month ago."""
    async with pool.connection() as connection:
        await connection.execute("select private.drop_old_mails()")
