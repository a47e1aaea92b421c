"""The queries of integrations. The staff can write the encrypted columns but never read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, LiteralString
from uuid import UUID

from neurant.api.listing import Listing, Sort, fetch_page
from neurant.core.db.pool import Connection, fetch_one, fetch_value, set_clause
from neurant.integrations.schemas import (
    IntegrationLogOut,
    IntegrationLogQuery,
    IntegrationOut,
    IntegrationQuery,
)

_COLUMNS = """
select i.id, i.name, i.integration_type::text, i.description, i.auth_type::text,
  coalesce(i.settings, '{}') as settings, i.expires_at, i.is_active, i.sync_status::text,
  i.last_sync_at, i.last_error, i.total_requests, i.successful_requests, i.failed_requests,
  i.created_by, i.created_at, i.updated_at
from public.integrations i
"""
_LISTING = Listing(
    select=_COLUMNS.strip(),
    sorts={
        "name": Sort("i.name", "text", "name"),
        "created_at": Sort("i.created_at", "timestamptz", "created_at"),
    },
    id="i.id",
)
_ONE = _COLUMNS + "where i.id = %(id)s"
_LOCK = "select true from public.integrations i where i.id = %s for update of i"
_INSERT = """
insert into public.integrations (company_id, id, name, integration_type, description, auth_type,
  settings, config, api_key_encrypted, oauth_token_encrypted, expires_at, created_by)
values ((select private.company_id('integrations.manage')), %(id)s, %(name)s, %(integration_type)s,
  %(description)s, %(auth_type)s, %(settings)s, %(config)s, %(api_key_encrypted)s,
  %(oauth_token_encrypted)s, %(expires_at)s, (select private.user_id()))
"""
_EDITABLE: tuple[LiteralString, ...] = (
    "name",
    "description",
    "auth_type",
    "settings",
    "config",
    "api_key_encrypted",
    "oauth_token_encrypted",
    "expires_at",
    "is_active",
)
_UPDATE = "update public.integrations set "
_DELETE = "delete from public.integrations where id = %s"
_LOGS = Listing(
    select="""
select l.id, l.integration_id, l.request_type, l.endpoint, l.request_data, l.response_status,
  l.response_data, l.response_time_ms, l.triggered_by_message_id, l.triggered_by_user_id,
  l.status::text,
  l.error_message, l.created_at
from public.integration_logs l
""".strip(),
    sorts={"created_at": Sort("l.created_at", "timestamptz", "created_at")},
    id="l.id",
)


async def new_id(connection: Connection) -> UUID:
    """Return the id of a new row, needed before the insert because secrets are sealed for it."""
    made = await fetch_value(connection, "select uuidv7()")
    assert isinstance(made, UUID)  # noqa: S101 - what uuidv7() returns
    return made


async def list_integrations(
    connection: Connection, query: IntegrationQuery
) -> tuple[list[IntegrationOut], str | None]:
    """Return a page of the company's integrations and the next cursor."""
    conditions: list[LiteralString] = []
    if query.integration_type is not None:
        conditions.append("i.integration_type = %(type)s::public.integration_type_enum")
    if query.is_active is not None:
        conditions.append("i.is_active = %(is_active)s")
    params = {"type": query.integration_type, "is_active": query.is_active}
    return await fetch_page(
        connection, IntegrationOut, _LISTING, query, query.sort, conditions, params
    )


async def get_integration(connection: Connection, integration_id: UUID) -> IntegrationOut | None:
    """Return one integration, None if it is unknown."""
    return await fetch_one(connection, IntegrationOut, _ONE, {"id": integration_id})


async def lock_integration(connection: Connection, integration_id: UUID) -> bool:
    """Lock the row until the transaction ends; False if the caller may not change it."""
    return bool(await fetch_value(connection, _LOCK, (integration_id,)))


async def insert_integration(connection: Connection, values: Mapping[str, Any]) -> None:
    """Insert an integration."""
    await connection.execute(_INSERT, values)


async def update_integration(
    connection: Connection, integration_id: UUID, changes: Mapping[str, Any]
) -> None:
    """Update the given columns."""
    statement = _UPDATE + set_clause(_EDITABLE, changes) + " where id = %(id)s"
    await connection.execute(statement, {**changes, "id": integration_id})


async def delete_integration(connection: Connection, integration_id: UUID) -> bool:
    """Delete an integration and its log; False if the caller may not delete it."""
    return (await connection.execute(_DELETE, (integration_id,))).rowcount == 1


async def list_logs(
    connection: Connection, integration_id: UUID, query: IntegrationLogQuery
) -> tuple[list[IntegrationLogOut], str | None]:
    """Return a page of an integration's log and the next cursor."""
    conditions: list[LiteralString] = ["l.integration_id = %(integration_id)s"]
    if query.status is not None:
        conditions.append("l.status = %(status)s::public.integration_log_status_enum")
    params = {"integration_id": integration_id, "status": query.status}
    return await fetch_page(
        connection, IntegrationLogOut, _LOGS, query, query.sort, conditions, params
    )
