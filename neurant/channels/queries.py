"""The SQL of channel accounts, as far as staff may read and change them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from pydantic import BaseModel

from neurant.api.listing import Listing, ListQuery, Sort, fetch_page
from neurant.core.db.pool import Connection, fetch_one, fetch_value, set_clause

_COLUMNS = """
select a.id, a.chatbot_id, a.channel::text, a.display_name, a.status, a.status_detail,
  a.routing_id, a.created_at, a.updated_at
from public.channel_accounts a
"""
_LISTING = Listing(
    select=_COLUMNS.strip(),
    sorts={"created_at": Sort("a.created_at", "timestamptz", "created_at")},
    id="a.id",
)
_ONE = _COLUMNS + "where a.id = %(id)s"
_CONNECT_WEB = """
insert into public.channel_accounts (company_id, chatbot_id, channel, routing_id, display_name)
select b.company_id, b.id, 'web', %s, %s
from public.chatbots b
where b.id = %s and b.company_id = (select private.company_id('channels.manage'))
  and b.retired_at is null
returning id
"""
_UPDATE = "update public.channel_accounts a set "
_EDITABLE: tuple[LiteralString, ...] = ("display_name", "status", "status_detail")
_WHERE = """
 where a.id = %(id)s and (%(status)s::text is distinct from 'connected' or exists (
   select from public.chatbots b
   where b.company_id = a.company_id and b.id = a.chatbot_id and b.retired_at is null))
"""


class AccountRow(BaseModel):
    """A channel account as staff may see it."""

    id: UUID
    chatbot_id: UUID
    channel: str
    display_name: str
    status: str
    status_detail: str | None
    routing_id: str
    created_at: datetime
    updated_at: datetime


async def list_accounts(
    connection: Connection, query: ListQuery, sort: str, chosen: Mapping[str, Any]
) -> tuple[list[AccountRow], str | None]:
    """Return a page of the accounts of the bots that the caller may see.

    ``chosen`` filters by column.
    """
    conditions: list[LiteralString] = []
    if chosen.get("chatbot_id") is not None:
        conditions.append("a.chatbot_id = %(chatbot_id)s")
    if chosen.get("status") is not None:
        conditions.append("a.status = %(status)s")
    return await fetch_page(connection, AccountRow, _LISTING, query, sort, conditions, chosen)


async def get_account(connection: Connection, account_id: UUID) -> AccountRow | None:
    """Return one account; None for an unknown id."""
    return await fetch_one(connection, AccountRow, _ONE, {"id": account_id})


async def connect_web(
    connection: Connection, chatbot_id: UUID, routing_id: str, display_name: str
) -> UUID | None:
    """Connect a web chat to a bot and return its id.

    Returns None for a retired bot or one of another company.
    """
    made = await fetch_value(connection, _CONNECT_WEB, (routing_id, display_name, chatbot_id))
    return made if isinstance(made, UUID) else None


async def update_account(
    connection: Connection, account_id: UUID, changes: Mapping[str, Any]
) -> bool:
    """Change the given columns of an account.

    Returns False for an unknown id, and for connecting an account whose bot is retired.
    """
    statement = _UPDATE + set_clause(_EDITABLE, changes) + _WHERE
    values = {"status": None, **changes, "id": account_id}
    return (await connection.execute(statement, values)).rowcount == 1
