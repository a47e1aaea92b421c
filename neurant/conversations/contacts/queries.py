"""The queries of contacts, limited by the reader's policies."""

from __future__ import annotations

from typing import LiteralString
from uuid import UUID

from neurant.api.listing import Listing, Sort, fetch_page
from neurant.conversations.contacts.schemas import ContactOut, ContactQuery
from neurant.core.db.pool import Connection, fetch_one, fetch_value

_COLUMNS: LiteralString = """select k.id, k.chatbot_id, k.channel::text, k.channel_account_id,
  k.end_user_id, k.name, k.first_seen_at, k.last_seen_at, k.erased_at
from public.contacts k"""
_ONE: LiteralString = _COLUMNS + " where k.id = %s"
_LISTING = Listing(
    select=_COLUMNS,
    sorts={"last_seen_at": Sort("k.last_seen_at", "timestamptz", "last_seen_at")},
    id="k.id",
)
_FILTERS: dict[str, LiteralString] = {
    "chatbot_id": "k.chatbot_id = %(chatbot_id)s",
    "channel": "k.channel = %(channel)s::public.conversation_channel_enum",
    "is_erased": "(k.erased_at is not null) = %(is_erased)s",
    "q": "private.person_words(k.name, k.end_user_id, k.channel)"
    " like all (private.like_patterns(%(q)s))",
}
_ERASE_CONTACT = "select private.erase_contact(%s)"


async def list_contacts(
    connection: Connection, query: ContactQuery
) -> tuple[list[ContactOut], str | None]:
    """Return a page of contacts and the next cursor."""
    given = query.model_dump(include=set(_FILTERS), exclude_none=True)
    conditions = [_FILTERS[name] for name in given]
    return await fetch_page(connection, ContactOut, _LISTING, query, query.sort, conditions, given)


async def get_contact(connection: Connection, contact_id: UUID) -> ContactOut | None:
    """Return one contact; None if it is unknown or out of scope."""
    return await fetch_one(connection, ContactOut, _ONE, (contact_id,))


async def erase_contact(connection: Connection, contact_id: UUID) -> str:
    """Erase a contact; return ``erased``, ``erased_before`` or ``not_found``."""
    return str(await fetch_value(connection, _ERASE_CONTACT, (contact_id,)))
