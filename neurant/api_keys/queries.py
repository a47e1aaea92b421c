"""Queries for API keys: owner and administradores see all keys of the company and make
their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import LiteralString
from uuid import UUID

from neurant.api.listing import Listing, Sort, fetch_page
from neurant.api_keys.schemas import KeyIn, KeyOut, KeyQuery, with_reads
from neurant.core.db.pool import Connection, fetch_one, fetch_value

_LISTING = Listing(
    select="""
select k.id, k.name, k.prefix, k.role::text as role, k.scopes, s.state, k.created_by,
  m.first_name || ' ' || m.last_name as created_by_name, k.created_at, k.last_used_at,
  k.expires_at, k.revoked_at
from public.api_keys k
left join public.users m on m.company_id = k.company_id and m.id = k.created_by
cross join lateral (select case
  when k.revoked_at is not null then 'revoked'
  when k.expires_at <= now() then 'expired'
  when not m.is_active then 'suspended'
  else 'active' end as state) s
""".strip(),
    sorts={
        "created_at": Sort("k.created_at", "timestamptz", "created_at"),
        "name": Sort("k.name", "text", "name"),
    },
    id="k.id",
)
_ONE = _LISTING.select + "\nwhere k.id = %(id)s"
_LOCKED = _ONE + "\nfor update of k"
_INSERT = """
insert into public.api_keys
  (company_id, name, prefix, key_digest, role, created_by, scopes, expires_at)
values ((select private.company_id('api_keys.manage')), %(name)s, %(prefix)s, %(digest)s, %(role)s,
  (select private.user_id()), %(scopes)s, now() + make_interval(days => %(days)s))
returning id
"""
_RENAME = "update public.api_keys k set name = %s where k.id = %s"
_REVOKE = "select private.revoke_api_key(%s)"


@dataclass(frozen=True, slots=True)
class _Made:
    id: UUID


async def list_keys(connection: Connection, query: KeyQuery) -> tuple[list[KeyOut], str | None]:
    """Return a page of the company's keys."""
    conditions: list[LiteralString] = []
    if query.state is not None:
        conditions.append("s.state = %(state)s")
    return await fetch_page(
        connection, KeyOut, _LISTING, query, query.sort, conditions, {"state": query.state}
    )


async def get_key(connection: Connection, key_id: UUID, *, locked: bool = False) -> KeyOut | None:
    """Return one of the company's keys; ``locked`` locks its row until the transaction ends."""
    return await fetch_one(connection, KeyOut, _LOCKED if locked else _ONE, {"id": key_id})


async def insert_key(connection: Connection, new: KeyIn, prefix: str, digest: bytes) -> UUID:
    """Insert a key that belongs to the caller, by its digest; return its id."""
    values = {
        "name": new.name,
        "prefix": prefix,
        "digest": digest,
        "role": new.role,
        "scopes": sorted(with_reads(set(new.scopes))),
        "days": new.expires_in_days,
    }
    made = await fetch_one(connection, _Made, _INSERT, values)
    assert made is not None  # noqa: S101 - an insert that returns
    return made.id


async def rename_key(connection: Connection, key_id: UUID, name: str) -> None:
    """Rename a key."""
    await connection.execute(_RENAME, (name, key_id))


async def revoke_key(connection: Connection, key_id: UUID) -> str:
    """Revoke a key for good: revoked, revoked_before, not_found or forbidden."""
    return str(await fetch_value(connection, _REVOKE, (key_id,)))
