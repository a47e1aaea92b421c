"""Queries of the worker for sealing and chain heads, and of the verification for the chains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from neurant.core.db.pool import Pool, fetch_all, fetch_count

_SEAL = "select private.seal_audit(%s)"
_HEADS = "select company_id, seq, chain_hash, sealed_at from private.unexported_audit_heads(%s)"
_NOTE_EXPORT = "select private.note_audit_export(%s, %s)"

CHAIN_COLUMNS: LiteralString = """
select s.company_id, s.seq, s.audit_id, s.row_digest, s.chain_hash, a.id is not null,
  a.company_id::text, a.id::text, a.user_id::text, a.user_email, a.user_role::text, a.action::text,
  a.resource_type, a.resource_id::text, a.details::text, a.ip_address::text, a.user_agent,
  a.session_id, a.request_id, (extract(epoch from a.created_at) * 1000000)::bigint::text
from public.audit_seals s
left join public.audit_logs a on a.company_id = s.company_id and a.id = s.audit_id
"""
"""Seals with the raw columns of their rows, as ``service.SealedRow.read`` takes them."""
CHAIN: LiteralString = (
    CHAIN_COLUMNS
    + """
where %(company)s::uuid is null or s.company_id = %(company)s
order by s.company_id, s.seq
"""
)
"""Every seal in order, with the raw columns of its row; read by a login that bypasses RLS."""
ENDS = """
select c.company_id, c.seq, c.chain_hash from public.audit_chains c
where %(company)s::uuid is null or c.company_id = %(company)s
"""
EXPORTED = "select c.company_id, c.exported_seq from public.audit_chains c where c.exported_seq > 0"
UNSEALED = """
select a.company_id, count(*), count(*) filter (where u.audit_id is null)
from public.audit_logs a
left join public.audit_unsealed u on u.company_id = a.company_id and u.audit_id = a.id
where (%(company)s::uuid is null or a.company_id = %(company)s)
  and not exists (
    select from public.audit_seals s where s.company_id = a.company_id and s.audit_id = a.id)
group by a.company_id
"""
"""The number of rows without a seal, and of those that are not queued for one."""
NAMES = "select c.id, c.slug from public.companies c"


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The head of a company's chain: the seal ``seq`` and the hash of all rows up to it."""

    company_id: UUID
    seq: int
    chain_hash: bytes
    sealed_at: datetime


async def seal_some(pool: Pool, most: int) -> int:
    """Seal up to ``most`` rows of one company; return how many (0: nothing waits)."""
    async with pool.connection() as connection:
        return await fetch_count(connection, _SEAL, (most,))


async def unexported_heads(pool: Pool, most: int) -> list[ChainHead]:
    """Return chain heads that have changed since their last export."""
    async with pool.connection() as connection:
        return await fetch_all(connection, ChainHead, _HEADS, (most,))


async def note_export(pool: Pool, heads: Sequence[ChainHead]) -> None:
    """Record that these chain heads are stored outside the database."""
    parameters = ([head.company_id for head in heads], [head.seq for head in heads])
    async with pool.connection() as connection:
        await connection.execute(_NOTE_EXPORT, parameters)
