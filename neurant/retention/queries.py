"""The statements of archiving, closing and erasing. The database holds the rules.

``archive_batch`` and ``close_idle`` run as the worker's login, for all companies; restoring and
erasing a person as a member of the staff; erasing a company as the migrating login.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from neurant.core.db.pool import Connection, fetch_all, fetch_count, fetch_one, fetch_value

_ARCHIVE = "select company_id, batch_id, conversations from private.archive_old_data()"
_CLOSE = "select private.close_idle_conversations()"
_ERASE_USER = "select private.erase_user(%s)"
_ERASE_COMPANY = "select private.erase_company(%s, %s)"
_COMPANY = "select c.id from public.companies c where c.slug = %s"
_NEWEST = """
select c.id, coalesce(c.end_user_name, c.end_user_id) as who, c.channel::text, c.status::text,
  c.last_message_at, c.message_count
from public.conversations_archived c
order by c.last_message_at desc, c.id desc
limit %s
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """Conversations of one company that were archived in one transaction."""

    company_id: UUID
    batch_id: UUID
    conversations: int


@dataclass(frozen=True, slots=True)
class ArchivedConversation:
    """A row of the list of archived conversations."""

    id: UUID
    who: str
    channel: str
    status: str
    last_message_at: datetime
    message_count: int


async def archive_batch(connection: Connection) -> Batch | None:
    """Archive one batch of the company whose turn it is; None if nothing old is left."""
    return await fetch_one(connection, Batch, _ARCHIVE)


async def close_idle(connection: Connection) -> int:
    """Close a batch of conversations without a message for a day; return how many."""
    return await fetch_count(connection, _CLOSE)


async def archived_conversations(connection: Connection, most: int) -> list[ArchivedConversation]:
    """Return the archived conversations that the caller may see, newest first."""
    return await fetch_all(connection, ArchivedConversation, _NEWEST, (most,))


async def erase_user(connection: Connection, user_id: UUID) -> str:
    """Erase a user; return ``erased``, ``forbidden`` (not below the caller) or ``not_found``."""
    return str(await fetch_value(connection, _ERASE_USER, (user_id,)))


async def find_company(connection: Connection, slug: str) -> UUID | None:
    """Return the id of a company, closed ones included; None if it is unknown."""
    found = await fetch_value(connection, _COMPANY, (slug,))
    return found if isinstance(found, UUID) else None


async def erase_company_batch(connection: Connection, company_id: UUID, force: bool) -> int:
    """Delete some rows of a company; return how many, 0 when none is left."""
    return await fetch_count(connection, _ERASE_COMPANY, (company_id, force))
