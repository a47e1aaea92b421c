"""The queries of notifications. Each person reads and marks only their own."""

from __future__ import annotations

from typing import LiteralString
from uuid import UUID

from neurant.api.listing import Listing, Sort, fetch_page
from neurant.core.db.pool import Connection, fetch_one
from neurant.notifications.schemas import Notification, NotificationQuery

_COLUMNS = """
select n.id, n.kind, n.details, n.created_at, n.read_at
from public.notifications n
"""
_LISTING = Listing(
    select=_COLUMNS.strip(),
    sorts={"created_at": Sort("n.created_at", "timestamptz", "created_at")},
    id="n.id",
)
_READ = """
update public.notifications n set read_at = coalesce(n.read_at, now())
where n.id = %s
returning n.id, n.kind, n.details, n.created_at, n.read_at
"""
_READ_ALL = "update public.notifications n set read_at = now() where n.read_at is null"


async def list_notifications(
    connection: Connection, query: NotificationQuery
) -> tuple[list[Notification], str | None]:
    """Return a page of the caller's notifications and the next cursor."""
    conditions: list[LiteralString] = []
    if query.unread is not None:
        conditions.append("(n.read_at is null) = %(unread)s")
    if query.kind is not None:
        conditions.append("n.kind = %(kind)s")
    return await fetch_page(
        connection,
        Notification,
        _LISTING,
        query,
        query.sort,
        conditions,
        {"unread": query.unread, "kind": query.kind},
    )


async def mark_read(connection: Connection, notification_id: UUID) -> Notification | None:
    """Mark a notification as read; the time of the first reading stays. None if unknown."""
    return await fetch_one(connection, Notification, _READ, (notification_id,))


async def mark_all_read(connection: Connection) -> int:
    """Mark the caller's notifications as read; return how many were unread."""
    return (await connection.execute(_READ_ALL)).rowcount
