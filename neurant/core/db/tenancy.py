"""The one way to open a transaction for a principal.

A principal is what the process knows of the caller. The database verifies it (by
``private.company_id()`` in the policies): one that does not stand sees and writes nothing.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import LiteralString
from uuid import UUID

import psycopg
from psycopg.pq import TransactionStatus

from neurant.core.db.pool import NEWCOMERS, VISITORS, Connection, Pool, sharing

_BECOME = """
select set_config('role', %s, true), set_config('request.jwt.claims', %s, true),
  set_config('request.audit', %s, true)
"""
_SNAPSHOT = "begin isolation level repeatable read read only"
_COME_FROM = "select set_config('request.audit', %s, true)"
# The columns are Caller's, in its order. The role is taken in what the function's row makes, so
# after it, and also where nobody was found: one statement less on every request.
_ENTER: LiteralString = """
select e.session_id, e.key_id, e.auth_user_id, e.company_id, e.user_id, e.role::text, e.first_name,
  e.last_name, e.email, e.company_name, e.subscription_status::text, e.requests_per_minute, e.may,
  set_config('role', 'authenticated', true)
from """
_ENTER_SESSION: LiteralString = _ENTER + "private.enter_session(%s, %s, %s) e"
_ENTER_KEY: LiteralString = _ENTER + "private.enter_key(%s, %s, %s) e"
_ENTER_SUBJECT: LiteralString = _ENTER + "private.enter_subject(%s, %s, %s, %s) e"


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
            name: value.replace("\0", "")
            for name in self.__slots__
            if (value := getattr(self, name))
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


@dataclass(frozen=True, slots=True)
class SessionToken:
    """The digest of a session's token."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class KeyToken:
    """The digest of an API key."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class Subject:
    """A login that somebody else's token was verified to be; in which company, or the only one."""

    auth_user_id: UUID
    company_id: UUID | None


Credential = SessionToken | KeyToken | Subject


# Whose share a credential takes, learned when it proved somebody. It opens nothing by itself.
_companies: dict[Credential, UUID] = {}
_MOST_KNOWN = 20_000  # credentials, about 5 MB


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a credential proved, as the database verified it (rows of ``private.caller``)."""

    session_id: UUID | None
    key_id: UUID | None
    auth_user_id: UUID
    company_id: UUID
    user_id: UUID
    role: str
    first_name: str
    last_name: str
    email: str
    company_name: str
    subscription_status: str
    requests_per_minute: int
    may: bool

    @property
    def principal(self) -> Staff | ApiKey:
        """Who to be in a transaction of its own."""
        if self.key_id is not None:
            return ApiKey(self.key_id, self.company_id)
        return Staff(self.auth_user_id, self.company_id)


def _entrance(credential: Credential) -> tuple[LiteralString, tuple[object, ...]]:
    match credential:
        case SessionToken():
            return _ENTER_SESSION, (credential.digest,)
        case KeyToken():
            return _ENTER_KEY, (credential.digest,)
        case Subject():
            return _ENTER_SUBJECT, (credential.auth_user_id, credential.company_id)


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
async def tenant(
    pool: Pool, principal: Principal, *, snapshot: bool = False
) -> AsyncIterator[Connection]:
    """One transaction as ``principal``: committed at the end, rolled back on any exception.

    ``snapshot``: every statement reads the same state, and none writes (REPEATABLE READ READ ONLY).
    Role and claims are local to the transaction, so nothing of them is left on the connection
    for the next user of it, also behind a transaction pooler.
    """
    role, claims = _identity(principal)
    trail = principal.trail if isinstance(principal, Staff | ApiKey) else None
    sharer = VISITORS if isinstance(principal, Visitor) else principal.company_id
    with sharing(sharer):
        async with pool.connection() as connection:
            async with connection.pipeline():  # one round trip for both
                await connection.execute(_SNAPSHOT if snapshot else "begin")
                await connection.execute(_BECOME, (role, claims, trail.told() if trail else ""))
            async with _finished(connection):
                yield connection


@asynccontextmanager
async def entered(
    pool: Pool, credential: Credential, permission: str | None, trail: Trail
) -> AsyncIterator[tuple[Connection, Caller | None]]:
    """One transaction as whoever ``credential`` proves, found and become in one round trip.

    The caller is None where the credential does not stand; the transaction then sees nothing.
    ``Caller.may`` answers for ``permission`` (of ``public.permissions``).
    """
    query, first = _entrance(credential)
    async with _connected(pool, credential) as connection:
        async with connection.pipeline():
            await connection.execute("begin")
            rows = await connection.execute(query, (*first, permission, trail.told()))
        *row, _ = await rows.fetchone() or (None, None)
        caller = Caller(*row) if row[-1] is not None else None  # nulls: nobody was found
        if caller is not None:
            remember(credential, caller.company_id)
        async with _finished(connection):
            yield connection, caller


@asynccontextmanager
async def _connected(pool: Pool, credential: Credential) -> AsyncIterator[Connection]:
    """A connection in the share of the company that the credential was of before."""
    while True:
        sharer = company_of(credential) or NEWCOMERS
        with sharing(sharer):
            async with pool.connection() as connection:
                if sharer is NEWCOMERS and company_of(credential):
                    continue  # learned while it waited: it queues with its own company
                yield connection
                return


def company_of(credential: Credential) -> UUID | None:
    """The company that a credential was of when this process saw it last."""
    return _companies.get(credential)


def remember(credential: Credential, company_id: UUID) -> None:
    """Keep which company's share a credential takes."""
    if credential not in _companies and len(_companies) >= _MOST_KNOWN:
        _companies.pop(next(iter(_companies)), None)
    _companies[credential] = company_id


@asynccontextmanager
async def _finished(connection: Connection) -> AsyncIterator[None]:
    try:
        yield
        status = connection.info.transaction_status
        # PostgreSQL answers a COMMIT of a failed transaction with ROLLBACK, and no error.
        if status == TransactionStatus.INERROR:
            raise RuntimeError("a failed transaction cannot be committed")
        if status != TransactionStatus.IDLE:  # else its user rolled it back
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
