"""The JSON endpoints of webhook endpoints and their deliveries."""

from __future__ import annotations

import base64
import secrets
from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from neurant.api.call import Call, needs
from neurant.api.etag import check_match, tagged
from neurant.api.listing import Page
from neurant.api.route import api_router
from neurant.core.db.pool import fetch_value
from neurant.core.errors import ForbiddenError, NotFoundError
from neurant.core.services import services_of
from neurant.core.vault import ensure_company_key, seal_secret
from neurant.webhooks import queries
from neurant.webhooks.schemas import (
    EndpointId,
    NewWebhookEndpoint,
    WebhookDeliveryOut,
    WebhookDeliveryQuery,
    WebhookEndpointIn,
    WebhookEndpointOut,
    WebhookEndpointPatch,
    WebhookEndpointQuery,
)

router = api_router("webhooks")
Reading = Annotated[Call, needs("webhooks.read")]
Managing = Annotated[Call, needs("webhooks.manage")]
_SECRET_BYTES = 32  # standardwebhooks.com requires 24 to 64 bytes


@router.get("/webhook-endpoints")
async def list_webhook_endpoints(
    call: Reading, query: Annotated[WebhookEndpointQuery, Query()]
) -> Page[WebhookEndpointOut]:
    """List the addresses to which the company's events are delivered.

    The owner and administradores may call it.
    """
    data, cursor = await queries.list_endpoints(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@router.post("/webhook-endpoints", status_code=201)
async def create_webhook_endpoint(
    call: Managing, new: WebhookEndpointIn, response: Response
) -> NewWebhookEndpoint:
    """Create a webhook endpoint and return it with its secret and status 201.

    The owner and administradores may call it. The secret is returned in this answer only.
    """
    made = await fetch_value(call.connection, "select uuidv7()")
    assert isinstance(made, UUID)  # noqa: S101 - what uuidv7() returns
    secret, sealed = await _new_secret(call, made)
    await queries.insert_endpoint(
        call.connection,
        {
            "id": made,
            "url": new.url,
            "events": list(dict.fromkeys(new.events)),
            "secret_encrypted": sealed,
        },
    )
    response.headers["location"] = f"/v1/webhook-endpoints/{made}"
    shown = await get_webhook_endpoint(call, made, response)
    return NewWebhookEndpoint(**shown.model_dump(), secret=secret)


@router.get("/webhook-endpoints/{endpoint_id}")
async def get_webhook_endpoint(
    call: Reading, endpoint_id: EndpointId, response: Response
) -> WebhookEndpointOut:
    """Return one webhook endpoint of the company, without its secret.

    The owner and administradores may call it. The ETag is for If-Match of a later change.
    """
    found = await _found(call, endpoint_id)
    tagged(response, found, WebhookEndpointPatch)
    return found


@router.patch("/webhook-endpoints/{endpoint_id}")
async def change_webhook_endpoint(
    call: Managing, endpoint_id: EndpointId, patch: WebhookEndpointPatch, response: Response
) -> WebhookEndpointOut:
    """Change the given fields of a webhook endpoint.

    The owner and administradores may call it. With If-Match, a change made in the meantime is
    refused with 412.
    """
    check_match(call.request, await _locked(call, endpoint_id), WebhookEndpointPatch)
    changes = patch.model_dump(exclude_unset=True)
    if "events" in changes:
        changes["events"] = list(dict.fromkeys(changes["events"]))
    if changes:
        await queries.update_endpoint(call.connection, endpoint_id, changes)
    return await get_webhook_endpoint(call, endpoint_id, response)


@router.post("/webhook-endpoints/{endpoint_id}/secret")
async def renew_webhook_secret(call: Managing, endpoint_id: EndpointId) -> NewWebhookEndpoint:
    """Replace the secret of a webhook endpoint; the new one is valid at once.

    The owner and administradores may call it. The secret is returned in this answer only.
    """
    shown = await _locked(call, endpoint_id)
    secret, sealed = await _new_secret(call, endpoint_id)
    await queries.update_endpoint(call.connection, endpoint_id, {"secret_encrypted": sealed})
    return NewWebhookEndpoint(**shown.model_dump(), secret=secret)


@router.delete("/webhook-endpoints/{endpoint_id}", status_code=204)
async def delete_webhook_endpoint(call: Managing, endpoint_id: EndpointId) -> None:
    """Delete a webhook endpoint and its deliveries.

    The owner and administradores may call it.
    """
    if not await queries.delete_endpoint(call.connection, endpoint_id):
        await _found(call, endpoint_id)
        raise ForbiddenError("api.not_permitted", permission="webhooks.manage")


@router.get("/webhook-endpoints/{endpoint_id}/deliveries")
async def list_webhook_deliveries(
    call: Reading, endpoint_id: EndpointId, query: Annotated[WebhookDeliveryQuery, Query()]
) -> Page[WebhookDeliveryOut]:
    """List the deliveries of a webhook endpoint: pending, delivered and failed.

    The owner and administradores may call it.
    """
    await _found(call, endpoint_id)
    data, cursor = await queries.list_deliveries(call.connection, endpoint_id, query)
    return Page(data=data, next_cursor=cursor)


async def _new_secret(call: Call, endpoint_id: UUID) -> tuple[str, bytes]:
    settings, company = services_of(call.request).settings, call.caller.company_id
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
    await ensure_company_key(call.connection, settings, company)
    return secret, await seal_secret(call.connection, settings, company, endpoint_id, secret)


async def _locked(call: Call, endpoint_id: UUID) -> WebhookEndpointOut:
    locked = await queries.lock_endpoint(call.connection, endpoint_id)
    found = await _found(call, endpoint_id)
    if not locked:
        raise ForbiddenError("api.not_permitted", permission="webhooks.manage")
    return found


async def _found(call: Call, endpoint_id: UUID) -> WebhookEndpointOut:
    found = await queries.get_endpoint(call.connection, endpoint_id)
    if found is None:
        raise NotFoundError("not_found")
    return found
