"""The queries of canned responses. The policies decide who may read and write which."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, LiteralString
from uuid import UUID

from neurant.api.listing import Listing, Sort, fetch_page
from neurant.canned_responses.schemas import CannedResponseOut, CannedResponseQuery
from neurant.core.db.pool import Connection, fetch_one, set_clause

_COLUMNS = """
select r.id, r.shortcut, r.content, r.owner_id is null as is_shared, r.created_at, r.updated_at
from public.canned_responses r
"""
_LISTING = Listing(
    select=_COLUMNS.strip(),
    sorts={
        "shortcut": Sort("r.shortcut", "text", "shortcut"),
        "created_at": Sort("r.created_at", "timestamptz", "created_at"),
    },
    id="r.id",
)
_ONE = _COLUMNS + "where r.id = %(id)s"
_LOCKED = _ONE + " for update of r"
_INSERT = """
insert into public.canned_responses (company_id, owner_id, shortcut, content)
values ((select private.company_id('canned_responses.edit')),
  case when %(is_shared)s then null else (select private.user_id()) end, %(shortcut)s, %(content)s)
returning id, shortcut, content, owner_id is null as is_shared, created_at, updated_at
"""
_DELETE = "delete from public.canned_responses r where r.id = %s"
_EDITABLE: tuple[LiteralString, ...] = ("shortcut", "content")
_UPDATE = "update public.canned_responses set "


async def list_canned_responses(
    connection: Connection, query: CannedResponseQuery
) -> tuple[list[CannedResponseOut], str | None]:
    """Return a page of the shared and the caller's own ones, and the next cursor."""
    conditions: list[LiteralString] = []
    if query.is_shared is not None:
        conditions.append("(r.owner_id is null) = %(is_shared)s")
    return await fetch_page(
        connection,
        CannedResponseOut,
        _LISTING,
        query,
        query.sort,
        conditions,
        {"is_shared": query.is_shared},
    )


async def get_canned_response(
    connection: Connection, response_id: UUID, *, locked: bool = False
) -> CannedResponseOut | None:
    """Return one canned response; ``locked`` locks its row until the transaction ends."""
    statement = _LOCKED if locked else _ONE
    return await fetch_one(connection, CannedResponseOut, statement, {"id": response_id})


async def insert_canned_response(
    connection: Connection, values: Mapping[str, Any]
) -> CannedResponseOut | None:
    """Insert a canned response and return it."""
    return await fetch_one(connection, CannedResponseOut, _INSERT, values)


async def update_canned_response(
    connection: Connection, response_id: UUID, changes: Mapping[str, Any]
) -> bool:
    """Update the given fields; False if the caller may not change it."""
    statement = _UPDATE + set_clause(_EDITABLE, changes) + " where id = %(id)s"
    cursor = await connection.execute(statement, {**changes, "id": response_id})
    return cursor.rowcount == 1


async def delete_canned_response(connection: Connection, response_id: UUID) -> bool:
    """Delete one; False if the caller may not delete it."""
    cursor = await connection.execute(_DELETE, (response_id,))
    return cursor.rowcount == 1
