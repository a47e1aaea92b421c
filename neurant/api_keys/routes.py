"""The endpoints for API keys; a key cannot make or change keys."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from neurant.api.call import Call, needs
from neurant.api.etag import check_match, tagged
from neurant.api.listing import Page
from neurant.api.route import api_router
from neurant.api_keys import queries
from neurant.api_keys.schemas import (
    KeyIn,
    KeyOut,
    KeyPatch,
    KeyQuery,
    NewKeyOut,
    ScopeOut,
    ScopesOut,
)
from neurant.api_keys.service import make_key
from neurant.core.errors import NotFoundError
from neurant.permissions.service import list_permissions, permission_out

router = api_router("API keys")
Reading = Annotated[Call, needs("api_keys.read")]
Managing = Annotated[Call, needs("api_keys.manage")]


@router.get("/api-keys")
async def list_api_keys(call: Reading, query: Annotated[KeyQuery, Query()]) -> Page[KeyOut]:
    """List the company's API keys, including expired and revoked ones."""
    data, cursor = await queries.list_keys(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@router.get("/api-keys/scopes")
async def list_api_key_scopes(call: Reading) -> ScopesOut:
    """List the permissions that an API key can have as scopes."""
    found = [one for one in await list_permissions(call.connection) if one.for_keys == "by_scope"]
    return ScopesOut(
        data=[ScopeOut(**permission_out(one).model_dump(include=_SCOPE)) for one in found]
    )


@router.post("/api-keys", status_code=201)
async def create_api_key(call: Managing, new: KeyIn, response: Response) -> NewKeyOut:
    """Create an API key that acts as the caller.

    ``key`` is shown in this answer only. Answers 201 with the key and its ``Location``.
    """
    made = await make_key(call.connection, new)
    response.headers["location"] = f"/v1/api-keys/{made.id}"
    tagged(response, made, KeyPatch)
    return made


@router.get("/api-keys/{key_id}")
async def get_api_key(call: Reading, key_id: UUID, response: Response) -> KeyOut:
    """Return one API key without its secret."""
    found = await queries.get_key(call.connection, key_id)
    if found is None:
        raise NotFoundError("not_found")
    tagged(response, found, KeyPatch)
    return found


@router.patch("/api-keys/{key_id}")
async def rename_api_key(
    call: Managing, key_id: UUID, patch: KeyPatch, response: Response
) -> KeyOut:
    """Rename an API key."""
    current = await queries.get_key(call.connection, key_id, locked=True)
    if current is None:
        raise NotFoundError("not_found")
    check_match(call.request, current, KeyPatch)
    if patch.model_fields_set:
        await queries.rename_key(call.connection, key_id, patch.name)
    return await get_api_key(call, key_id, response)


@router.delete("/api-keys/{key_id}", status_code=204)
async def revoke_api_key(call: Managing, key_id: UUID) -> None:
    """Revoke an API key at once and for good.

    The key stays in the list, and its actions stay in the audit. To revoke a key again changes
    nothing.
    """
    if await queries.revoke_key(call.connection, key_id) == "not_found":
        raise NotFoundError("not_found")


_SCOPE = set(ScopeOut.model_fields)
