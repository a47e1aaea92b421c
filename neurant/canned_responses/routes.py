"""The JSON endpoints of canned responses: the pattern for other resources (docs/api.md)."""

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
    ResponseId,
)
from neurant.core.errors import ForbiddenError, NotFoundError

router = api_router("canned responses")
Reading = Annotated[Call, needs("canned_responses.read")]
Editing = Annotated[Call, needs("canned_responses.edit")]


@router.get("/canned-responses")
async def list_canned_responses(
    call: Reading, query: Annotated[CannedResponseQuery, Query()]
) -> Page[CannedResponseOut]:
    """List the canned responses that the company shares and the caller's own.

    Every member of the company may call it.
    """
    data, cursor = await queries.list_canned_responses(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@router.post("/canned-responses", status_code=201)
async def create_canned_response(
    call: Editing, new: CannedResponseIn, response: Response
) -> CannedResponseOut:
    """Create a canned response and return it with status 201.

    Every member of the company may call it. Only supervisors, administradores and the owner may
    share one with the company.
    """
    made = await queries.insert_canned_response(call.connection, new.model_dump())
    assert made is not None  # noqa: S101 - the statement has a RETURNING clause
    response.headers["location"] = f"/v1/canned-responses/{made.id}"
    tagged(response, made, CannedResponsePatch)
    return made


@router.get("/canned-responses/{response_id}")
async def get_canned_response(
    call: Reading, response_id: ResponseId, response: Response
) -> CannedResponseOut:
    """Return one canned response that the caller may use.

    Every member of the company may call it. The ETag is for If-Match of a later change.
    """
    found = await _found(call, response_id)
    tagged(response, found, CannedResponsePatch)
    return found


@router.patch("/canned-responses/{response_id}")
async def change_canned_response(
    call: Editing, response_id: ResponseId, patch: CannedResponsePatch, response: Response
) -> CannedResponseOut:
    """Change the given fields of a canned response.

    The caller may change what they may edit: an operador only their own (403 otherwise). With
    If-Match, a change made in the meantime is refused with 412.
    """
    current = await queries.get_canned_response(call.connection, response_id, locked=True)
    if current is None:
        await _found(call, response_id)  # readable but not editable: 403 instead of 404
        raise ForbiddenError("api.not_permitted", permission="canned_responses.edit")
    check_match(call.request, current, CannedResponsePatch)
    changes = patch.model_dump(exclude_unset=True)
    if changes:
        await queries.update_canned_response(call.connection, response_id, changes)
    return await get_canned_response(call, response_id, response)


@router.delete("/canned-responses/{response_id}", status_code=204)
async def delete_canned_response(call: Editing, response_id: ResponseId) -> None:
    """Delete a canned response.

    The caller may delete what they may edit: an operador only their own (403 otherwise).
    """
    if not await queries.delete_canned_response(call.connection, response_id):
        await _found(call, response_id)
        raise ForbiddenError("api.not_permitted", permission="canned_responses.edit")


async def _found(call: Call, response_id: UUID) -> CannedResponseOut:
    found = await queries.get_canned_response(call.connection, response_id)
    if found is None:
        raise NotFoundError("not_found")
    return found
