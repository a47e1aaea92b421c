"""The queries of webhook endpoints and their deliveries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, LiteralString
from uuid import UUID

from neurant.api.listing import Listing, Sort, fetch_page
from neurant.core.db.pool import Connection, fetch_one, fetch_value, set_clause
from neurant.webhooks.schemas import (
    WebhookDeliveryOut,
    WebhookDeliveryQuery,
    WebhookEndpointOut,
    WebhookEndpointQuery,
)

_COLUMNS = """
select w.id, w.url, w.events, w.is_active, w.created_by, w.created_at, w.updated_at
from public.webhook_endpoints w
"""
_LISTING = Listing(
    select=_COLUMNS.strip(),
    sorts={"created_at": Sort("w.created_at", "timestamptz", "created_at")},
    id="w.id",
)
_ONE = _COLUMNS + "where w.id = %(id)s"
_LOCK = "select true from public.webhook_endpoints w where w.id = %s for update of w"
_INSERT = """
insert into public.webhook_endpoints (company_id, id, url, events, secret_encrypted, created_by)
values ((select private.company_id('webhooks.manage')), %(id)s, %(url)s, %(events)s,
  %(secret_encrypted)s, (select private.user_id()))
"""
_EDITABLE: tuple[LiteralString, ...] = ("url", "events", "is_active", "secret_encrypted")
_UPDATE = "update public.webhook_endpoints set "
_DELETE = "delete from public.webhook_endpoints where id = %s"
_DELIVERIES = Listing(
    select="""
select d.id, d.event, d.payload, d.status, d.attempts, d.due_at, d.response_status, d.last_error,
  d.created_at, d.delivered_at
from public.webhook_deliveries d
""".strip(),
    sorts={"created_at": Sort("d.created_at", "timestamptz", "created_at")},
    id="d.id",
)


async def list_endpoints(
    connection: Connection, query: WebhookEndpointQuery
) -> tuple[list[WebhookEndpointOut], str | None]:
    """Return a page of the company's endpoints and the next cursor."""
    conditions: list[LiteralString] = []
    if query.is_active is not None:
        conditions.append("w.is_active = %(is_active)s")
    params = {"is_active": query.is_active}
    return await fetch_page(
        connection, WebhookEndpointOut, _LISTING, query, query.sort, conditions, params
    )


async def get_endpoint(connection: Connection, endpoint_id: UUID) -> WebhookEndpointOut | None:
    """Return one endpoint, None if it is unknown."""
    return await fetch_one(connection, WebhookEndpointOut, _ONE, {"id": endpoint_id})


async def lock_endpoint(connection: Connection, endpoint_id: UUID) -> bool:
    """Lock the row until the transaction ends; False if the caller may not change it."""
    return bool(await fetch_value(connection, _LOCK, (endpoint_id,)))


async def insert_endpoint(connection: Connection, values: Mapping[str, Any]) -> None:
    """Insert an endpoint."""
    await connection.execute(_INSERT, values)


async def update_endpoint(
    connection: Connection, endpoint_id: UUID, changes: Mapping[str, Any]
) -> None:
    """Update the given columns."""
    statement = _UPDATE + set_clause(_EDITABLE, changes) + " where id = %(id)s"
    await connection.execute(statement, {**changes, "id": endpoint_id})


async def delete_endpoint(connection: Connection, endpoint_id: UUID) -> bool:
    """Delete an endpoint and its deliveries; False if the caller may not delete it."""
    return (await connection.execute(_DELETE, (endpoint_id,))).rowcount == 1


async def list_deliveries(
    connection: Connection, endpoint_id: UUID, query: WebhookDeliveryQuery
) -> tuple[list[WebhookDeliveryOut], str | None]:
    """Return a page of an endpoint's deliveries and the next cursor."""
    conditions: list[LiteralString] = ["d.endpoint_id = %(endpoint_id)s"]
    if query.status is not None:
        conditions.append("d.status = %(status)s")
    if query.event is not None:
        conditions.append("d.event = %(event)s")
    params = {"endpoint_id": endpoint_id, "status": query.status, "event": query.event}
    return await fetch_page(
        connection, WebhookDeliveryOut, _DELIVERIES, query, query.sort, conditions, params
    )
