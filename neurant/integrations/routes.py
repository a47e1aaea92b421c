"""The JSON endpoints of integrations."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from neurant.api.call import Call, needs
from neurant.api.etag import check_match, tagged
from neurant.api.listing import Page
from neurant.api.route import api_router
from neurant.core.errors import ForbiddenError, NotFoundError
from neurant.core.services import services_of
from neurant.integrations import queries
from neurant.integrations.schemas import (
    IntegrationId,
    IntegrationIn,
    IntegrationLogOut,
    IntegrationLogQuery,
    IntegrationOut,
    IntegrationPatch,
    IntegrationQuery,
)
from neurant.integrations.service import sealed_values

router = api_router("integrations")
Reading = Annotated[Call, needs("integrations.read")]
Managing = Annotated[Call, needs("integrations.manage")]


@router.get("/integrations")
async def list_integrations(
    call: Reading, query: Annotated[IntegrationQuery, Query()]
) -> Page[IntegrationOut]:
    """List the external systems that the company's bots may query.

    The owner and administradores may call it.
    """
    data, cursor = await queries.list_integrations(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@router.post("/integrations", status_code=201)
async def create_integration(
    call: Managing, new: IntegrationIn, response: Response
) -> IntegrationOut:
    """Create an integration and return it with status 201.

    The owner and administradores may call it. Secrets are stored encrypted and never returned.
    Refused with 409 if the plan allows no further integration.
    """
    settings = services_of(call.request).settings
    made = await queries.new_id(call.connection)
    values = await sealed_values(call.connection, settings, call.caller.company_id, made, new)
    await queries.insert_integration(call.connection, values | {"id": made})
    response.headers["location"] = f"/v1/integrations/{made}"
    return await get_integration(call, made, response)


@router.get("/integrations/{integration_id}")
async def get_integration(
    call: Reading, integration_id: IntegrationId, response: Response
) -> IntegrationOut:
    """Return one integration of the company, without its secrets.

    The owner and administradores may call it. The ETag is for If-Match of a later change.
    """
    found = await _found(call, integration_id)
    tagged(response, found, IntegrationPatch)
    return found


@router.patch("/integrations/{integration_id}")
async def change_integration(
    call: Managing, integration_id: IntegrationId, patch: IntegrationPatch, response: Response
) -> IntegrationOut:
    """Change the given fields of an integration; ``config`` is replaced as a whole.

    The owner and administradores may call it. With If-Match, a change made in the meantime is
    refused with 412.
    """
    locked = await queries.lock_integration(call.connection, integration_id)
    current = await _found(call, integration_id)
    if not locked:
        raise ForbiddenError("api.not_permitted", permission="integrations.manage")
    check_match(call.request, current, IntegrationPatch)
    if patch.model_fields_set:
        settings, company = services_of(call.request).settings, call.caller.company_id
        values = await sealed_values(call.connection, settings, company, integration_id, patch)
        await queries.update_integration(call.connection, integration_id, values)
    return await get_integration(call, integration_id, response)


@router.delete("/integrations/{integration_id}", status_code=204)
async def delete_integration(call: Managing, integration_id: IntegrationId) -> None:
    """Delete an integration with its secrets and its log.

    The owner and administradores may call it.
    """
    if not await queries.delete_integration(call.connection, integration_id):
        await _found(call, integration_id)
        raise ForbiddenError("api.not_permitted", permission="integrations.manage")


@router.get("/integrations/{integration_id}/logs")
async def list_integration_logs(
    call: Reading, integration_id: IntegrationId, query: Annotated[IntegrationLogQuery, Query()]
) -> Page[IntegrationLogOut]:
    """List the requests that were made to the external system, with its answers.

    The owner and administradores may call it.
    """
    await _found(call, integration_id)
    data, cursor = await queries.list_logs(call.connection, integration_id, query)
    return Page(data=data, next_cursor=cursor)


async def _found(call: Call, integration_id: UUID) -> IntegrationOut:
    found = await queries.get_integration(call.connection, integration_id)
    if found is None:
        raise NotFoundError("not_found")
    return found
