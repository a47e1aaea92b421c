"""The one way to open a transaction for a principal.

A principal is what the process knows of the caller. The database verifies it (by
``private.company_id()`` in the policies): one that does not stand sees and writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from uuid import UUID

import psycopg
from psycopg.pq import TransactionStatus

from neurant.database.pool import Connection, Pool

_BECOME = """
select set_config('role', %s, true), set_config('request.jwt.claims', %s, true),
  set_config('request.audit', %s, true)
"""
_COME_FROM = "select set_config('request.audit', %s, true)"


@dataclass(frozen=True, slots=True)
class Trail:
    """Where a request comes from, for audit: told, not verified. All of it is optional."""

    session_id: str | None = None
    request_id: str | None = None
    ip: str | None = None
    user_agent: str | None = None

    def told(self) -> str:
        """As the database reads it (``request.audit``). NUL does not exist in its texts."""
        known = {
            name: str(value).replace("\0", "") for name, value in asdict(self).items() if value
        }
        return json.dumps(known)


@dataclass(frozen=True, slots=True)
class Staff:
    """A member of a company's staff."""

    auth_user_id: UUID
    company_id: UUID
    trail: Trail | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A program that acts for a company, with the key's role."""

    key_id: UUID
    company_id: UUID
    trail: Trail | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Visitor:
    """A web chat visitor, known by the SHA-256 digest of an opaque token."""

    token_digest: bytes


@dataclass(frozen=True, slots=True)
class Worker:
    """The system, acting for one company. Only the worker's login can become it."""

    company_id: UUID


Principal = Staff | ApiKey | Visitor | Worker


def _identity(principal: Principal) -> tuple[str, str]:
    match principal:
        case Staff():
            claims = {
                "sub": str(principal.auth_user_id),
                "company_id": str(principal.company_id),
            }
            return "authenticated", json.dumps(claims)
        case ApiKey():
            claims = {"key_id": str(principal.key_id), "company_id": str(principal.company_id)}
            return "authenticated", json.dumps(claims)
        case Visitor():
            return "visitor", json.dumps({"visitor": principal.token_digest.hex()})
        case Worker():
            return "neurant_worker", json.dumps({"company_id": str(principal.company_id)})


@asynccontextmanager
async def tenant(pool: Pool, principal: Principal) -> AsyncIterator[Connection]:
    """One transaction as ``principal``: committed at the end, rolled back on any exception.

    Role and claims are local to the transaction, so nothing of them is left on the connection
    for the next user of it, also behind a transaction pooler.
    """
    role, claims = _identity(principal)
    trail = principal.trail if isinstance(principal, Staff | ApiKey) else None
    async with pool.connection() as connection:
        async with connection.pipeline():  # one round trip for both
            await connection.execute("begin")
            await connection.execute(_BECOME, (role, claims, trail.told() if trail else ""))
        try:
            yield connection
            # PostgreSQL answers a COMMIT of a failed transaction with ROLLBACK, and no error.
            if connection.info.transaction_status == TransactionStatus.INERROR:
                raise RuntimeError("a failed transaction cannot be committed")
            await connection.execute("commit")
        except BaseException:
            if connection.info.transaction_status != TransactionStatus.IDLE:
                # A lost connection has rolled back already, and is not what the caller must hear.
                with suppress(psycopg.OperationalError):
                    await connection.rollback()
            raise


async def come_from(connection: Connection, trail: Trail) -> None:
    """Say where the rest of this transaction comes from; for one that has no principal yet."""
    await connection.execute(_COME_FROM, (trail.told(),))
