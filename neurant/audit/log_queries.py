"""Queries for the audit as the staff of one company reads it, under its policies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import class_row

from neurant.api.listing import Listing, Sort, fetch_page
from neurant.audit.queries import CHAIN_COLUMNS
from neurant.audit.schemas import AuditFilters, AuditLogOut, AuditQuery
from neurant.audit.service import SealedRow
from neurant.core.db.pool import Connection, fetch_all, fetch_one

_LISTING = Listing(
    select="""
select a.id, a.created_at, a.action::text as action, a.resource_type, a.resource_id, a.user_id,
  u.first_name || ' ' || u.last_name as user_name, a.user_role::text as user_role, a.details,
  a.ip_address, a.user_agent, a.session_id, a.request_id
from public.audit_logs a
left join public.users u on u.company_id = a.company_id and u.id = a.user_id
""".strip(),
    sorts={"created_at": Sort("a.created_at", "timestamptz", "created_at")},
    id="a.id",
)
_CONDITIONS: dict[str, LiteralString] = {
    "action": "a.action = %(action)s",
    "resource_type": "a.resource_type = %(resource_type)s",
    "resource_id": "a.resource_id = %(resource_id)s",
    "user_id": "a.user_id = %(user_id)s",
    "request_id": "a.request_id = %(request_id)s",
    "since": "a.created_at >= %(since)s",
    "until": "a.created_at < %(until)s",
}
_CHAIN_END = """
select c.seq, c.chain_hash, c.sealed_at, c.exported_seq from public.audit_chains c
"""
_PEOPLE = """
select u.id, u.first_name || ' ' || u.last_name as name
from public.users u
order by name, u.id
limit 500
"""
_SEAL = "select s.seq, s.chain_hash from public.audit_seals s where s.seq = %s"
_PART = (
    CHAIN_COLUMNS
    + """
where s.seq > %s
order by s.seq
limit %s
"""
)


@dataclass(frozen=True, slots=True)
class ChainEnd:
    """The end of the company's chain."""

    seq: int
    chain_hash: bytes
    sealed_at: datetime | None
    exported_seq: int


@dataclass(frozen=True, slots=True)
class KnownPerson:
    """A person of the company, for the filter."""

    id: UUID
    name: str


@dataclass(frozen=True, slots=True)
class Seal:
    """A seal's number and hash."""

    seq: int
    chain_hash: bytes


def _wanted(filters: AuditFilters) -> tuple[list[LiteralString], Mapping[str, Any]]:
    values = {name: getattr(filters, name) for name in _CONDITIONS}
    return [_CONDITIONS[name] for name, value in values.items() if value is not None], values


async def list_audit_logs(
    connection: Connection, query: AuditQuery
) -> tuple[list[AuditLogOut], str | None]:
    """Return a page of the company's audit."""
    conditions, values = _wanted(query)
    return await fetch_page(
        connection, AuditLogOut, _LISTING, query, query.sort, conditions, values
    )


async def stream_audit_logs(
    connection: Connection, filters: AuditFilters
) -> AsyncIterator[AuditLogOut]:
    """Yield all matching rows, the oldest first, in constant memory."""
    conditions, values = _wanted(filters)
    where: LiteralString = "\nwhere " + " and ".join(conditions) if conditions else ""
    statement = _LISTING.select + where + "\norder by a.created_at, a.id"
    async with connection.cursor("audit_export", row_factory=class_row(AuditLogOut)) as cursor:
        cursor.itersize = 1000
        await cursor.execute(statement, values)
        async for row in cursor:
            yield row


async def people(connection: Connection) -> list[KnownPerson]:
    """Return the people of the company whom the caller may see, by name."""
    return await fetch_all(connection, KnownPerson, _PEOPLE)


async def chain_end(connection: Connection) -> ChainEnd | None:
    """Return the end of the chain; None while nothing is sealed."""
    return await fetch_one(connection, ChainEnd, _CHAIN_END)


async def find_seal(connection: Connection, seq: int) -> Seal | None:
    """Return a seal by its number."""
    return await fetch_one(connection, Seal, _SEAL, (seq,))


async def chain_part(connection: Connection, after: int, most: int) -> list[SealedRow]:
    """Return at most ``most`` seals after this one, with the raw columns of their rows."""
    cursor = await connection.execute(_PART, (after, most))
    return [SealedRow.read(row) for row in await cursor.fetchall()]
