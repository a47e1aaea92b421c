"""The JSON endpoints of contacts."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query

from neurant.api.call import Call, needs
from neurant.api.listing import Page
from neurant.api.route import api_router
from neurant.conversations.contacts import queries
from neurant.conversations.contacts.queries import erase_contact as erase
from neurant.conversations.contacts.schemas import ContactId, ContactOut, ContactQuery
from neurant.conversations.outcomes import raise_for_outcome
from neurant.core.errors import NotFoundError

router = api_router("contacts")
Reading = Annotated[Call, needs("conversations.read")]
Erasing = Annotated[Call, needs("data.erase")]


@router.get("/contacts")
async def list_contacts(call: Reading, query: Annotated[ContactQuery, Query()]) -> Page[ContactOut]:
    """List the end users of the bots, the most recently active first.

    Every member of the company may call it. An operador sees only the contacts of the bots that are
    assigned to them.
    """
    data, cursor = await queries.list_contacts(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@router.get("/contacts/{contact_id}")
async def get_contact(call: Reading, contact_id: ContactId) -> ContactOut:
    """Return one contact of the company.

    Every member of the company may call it. An operador sees only the contacts of the bots that are
    assigned to them.
    """
    return await _found(call, contact_id)


@router.post("/contacts/{contact_id}/erase")
async def erase_contact(call: Erasing, contact_id: ContactId) -> ContactOut:
    """Erase a contact: overwrite their name, identifiers and messages, also in the archives.

    The owner and administradores may call it. The erasure cannot be undone. Counters and dates
    stay. A contact that is already erased is returned unchanged.
    """
    raise_for_outcome(await erase(call.connection, contact_id))
    return await _found(call, contact_id)


async def _found(call: Call, contact_id: UUID) -> ContactOut:
    found = await queries.get_contact(call.connection, contact_id)
    if found is None:
        raise NotFoundError("not_found")
    return found
