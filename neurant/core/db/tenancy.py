"""Transactions as a principal. This module is the only place that opens them.

A principal is the identity that the process claims for the caller. The database verifies it (by
``private.company_id()`` in the policies): an invalid principal sees and writes nothing.
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
# The columns are those of Caller, in its order. The role is set in the select list, which is
# evaluated after the function, also if it found no caller. This saves a statement per request.
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
    """The origin of a request for audit: reported by the client, not verified. All are optional."""

    session_id: str | None = None
    request_id: str | None = None
    ip: str | None = None
    user_agent: str | None = None

    def as_json(self) -> str:
        """Return the trail as the database reads it (``request.audit``), without NUL characters."""
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
    """A program that acts for a company with the role of its API key."""

    key_id: UUID
    company_id: UUID
    trail: Trail | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Visitor:
    """A web chat visitor, identified by the SHA-256 digest of an opaque token."""

    token_digest: bytes


@dataclass(frozen=True, slots=True)
class Worker:
    """The system, acting for one company. Only the worker's login can assume this principal."""

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
    """A login that a verified token of another issuer names, with its company, if one is chosen."""

    auth_user_id: UUID
    company_id: UUID | None


Credential = SessionToken | KeyToken | Subject


# The company whose share each credential uses, from its last authentication. It grants no access.
_companies: dict[Credential, UUID] = {}
_MAX_KNOWN = 20_000  # credentials, about 5 MB


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated caller, as the database verified it (rows of ``private.caller``)."""

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
        """Return the caller's principal, for a separate transaction."""
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
    """Open one transaction as ``principal``: committed at the end, rolled back on any exception.

    ``snapshot``: every statement reads the same state, and none writes (REPEATABLE READ READ ONLY).
    Role and claims are local to the transaction, so the connection's next user does not inherit
    them, also behind a transaction pooler.
    """
    role, claims = _identity(principal)
    trail = principal.trail if isinstance(principal, Staff | ApiKey) else None
    sharer = VISITORS if isinstance(principal, Visitor) else principal.company_id
    with sharing(sharer):
        async with pool.connection() as connection:
            async with connection.pipeline():  # one round trip for both
                await connection.execute(_SNAPSHOT if snapshot else "begin")
                await connection.execute(_BECOME, (role, claims, trail.as_json() if trail else ""))
            async with _finished(connection):
                yield connection


@asynccontextmanager
async def entered(
    pool: Pool, credential: Credential, permission: str | None, trail: Trail
) -> AsyncIterator[tuple[Connection, Caller | None]]:
    """Open one transaction as the caller of ``credential``, authenticated in the same round trip.

    The caller is None if the credential is invalid; the transaction then sees nothing.
    ``Caller.may`` is the answer for ``permission`` (of ``public.permissions``).
    """
    query, first = _entrance(credential)
    async with _connected(pool, credential) as connection:
        async with connection.pipeline():
            await connection.execute("begin")
            rows = await connection.execute(query, (*first, permission, trail.as_json()))
        *row, _ = await rows.fetchone() or (None, None)
        caller = (
            Caller(*row) if row[-1] is not None else None
        )  # nulls mean that no caller was found
        if caller is not None:
            remember(credential, caller.company_id)
        async with _finished(connection):
            yield connection, caller


@asynccontextmanager
async def _connected(pool: Pool, credential: Credential) -> AsyncIterator[Connection]:
    """Hold a connection in the share of the company that the credential last belonged to."""
    while True:
        sharer = company_of(credential) or NEWCOMERS
        with sharing(sharer):
            async with pool.connection() as connection:
                if sharer is NEWCOMERS and company_of(credential):
                    continue  # the company became known meanwhile, so it queues there
                yield connection
                return


def company_of(credential: Credential) -> UUID | None:
    """Return the company that a credential belonged to when this process last saw it."""
    return _companies.get(credential)


def remember(credential: Credential, company_id: UUID) -> None:
    """Store the company whose share a credential uses."""
    if credential not in _companies and len(_companies) >= _MAX_KNOWN:
        _companies.pop(next(iter(_companies)), None)
    _companies[credential] = company_id


@asynccontextmanager
async def _finished(connection: Connection) -> AsyncIterator[None]:
    try:
        yield
        status = connection.info.transaction_status
        # PostgreSQL answers a COMMIT of a failed transaction with ROLLBACK and without an error.
        if status == TransactionStatus.INERROR:
            raise RuntimeError("a failed transaction cannot be committed")
        if status != TransactionStatus.IDLE:  # otherwise the caller rolled it back
            await connection.execute("commit")
    except BaseException:
        if connection.info.transaction_status != TransactionStatus.IDLE:
            # A lost connection has rolled back already; the original exception matters more.
            with suppress(psycopg.OperationalError):
                await connection.rollback()
        raise


async def come_from(connection: Connection, trail: Trail) -> None:
    """Set the trail of the rest of this transaction, for one without a principal yet."""
    await connection.execute(_COME_FROM, (trail.as_json(),))
