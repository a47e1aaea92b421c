"""Contacts over the API."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query

from neurant.api.call import Call, needs
from neurant.api.listing import Page
from neurant.api.route import api_router
from neurant.conversations.contacts import queries
from neurant.conversations.contacts.queries import erase_contact as erase
from neurant.conversations.contacts.schemas import ContactOut, ContactQuery
from neurant.conversations.outcomes import check
from neurant.core.errors import NotFoundError

router = api_router("contacts")
Reading = Annotated[Call, needs("conversations.read")]
Erasing = Annotated[Call, needs("data.erase")]


@router.get("/contacts")
async def list_contacts(call: Reading, query: Annotated[ContactQuery, Query()]) -> Page[ContactOut]:
    """End users, whoever was there last first."""
    data, cursor = await queries.list_contacts(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@router.get("/contacts/{contact_id}")
async def get_contact(call: Reading, contact_id: UUID) -> ContactOut:
    """One of them."""
    return await _found(call, contact_id)


@router.post("/contacts/{contact_id}/erase")
async def erase_contact(call: Erasing, contact_id: UUID) -> ContactOut:
    """Overwrite what the person said and all that tells who they are, archives too. No way back.

    Counters and dates stay. One that is erased stays so.
    """
    check(await erase(call.connection, contact_id))
    return await _found(call, contact_id)


async def _found(call: Call, contact_id: UUID) -> ContactOut:
    found = await queries.get_contact(call.connection, contact_id)
    if found is None:
        raise NotFoundError("not_found")
    return found
