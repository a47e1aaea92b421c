"""Canned responses over the API: the pattern that other resources follow (docs/api.md)."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from neurant.api.call import Call, needs
from neurant.api.etag import check_match, tagged
from neurant.api.listing import Page
from neurant.api.route import api_router
from neurant.canned_responses import queries
from neurant.canned_responses.schemas import (
    CannedResponseIn,
    CannedResponseOut,
    CannedResponsePatch,
    CannedResponseQuery,
)
from neurant.core.errors import ForbiddenError, NotFoundError

router = api_router("canned responses")
Reading = Annotated[Call, needs("canned_responses.read")]
Editing = Annotated[Call, needs("canned_responses.edit")]


@router.get("/canned-responses")
async def list_canned_responses(
    call: Reading, query: Annotated[CannedResponseQuery, Query()]
) -> Page[CannedResponseOut]:
    """The shared ones and one's own."""
    data, cursor = await queries.list_canned_responses(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@router.post("/canned-responses", status_code=201)
async def create_canned_response(
    call: Editing, new: CannedResponseIn, response: Response
) -> CannedResponseOut:
    """A new one; shared with the company by supervisors and above."""
    made = await queries.insert_canned_response(call.connection, new.model_dump())
    assert made is not None  # noqa: S101 - an insert that returns
    response.headers["location"] = f"/v1/canned-responses/{made.id}"
    tagged(response, made, CannedResponsePatch)
    return made


@router.get("/canned-responses/{response_id}")
async def get_canned_response(
    call: Reading, response_id: UUID, response: Response
) -> CannedResponseOut:
    """One of them."""
    found = await _found(call, response_id)
    tagged(response, found, CannedResponsePatch)
    return found


@router.patch("/canned-responses/{response_id}")
async def change_canned_response(
    call: Editing, response_id: UUID, patch: CannedResponsePatch, response: Response
) -> CannedResponseOut:
    """Change what is given; with If-Match only if nobody changed it meanwhile."""
    current = await queries.get_canned_response(call.connection, response_id, locked=True)
    if current is None:
        await _found(call, response_id)  # one that may be read may not be changed: 403
        raise ForbiddenError("api.not_permitted", permission="canned_responses.edit")
    check_match(call.request, current, CannedResponsePatch)
    changes = patch.model_dump(exclude_unset=True)
    if changes:
        await queries.update_canned_response(call.connection, response_id, changes)
    return await get_canned_response(call, response_id, response)


@router.delete("/canned-responses/{response_id}", status_code=204)
async def delete_canned_response(call: Editing, response_id: UUID) -> None:
    """Remove it."""
    if not await queries.delete_canned_response(call.connection, response_id):
        await _found(call, response_id)
        raise ForbiddenError("api.not_permitted", permission="canned_responses.edit")


async def _found(call: Call, response_id: UUID) -> CannedResponseOut:
    found = await queries.get_canned_response(call.connection, response_id)
    if found is None:
        raise NotFoundError("not_found")
    return found
