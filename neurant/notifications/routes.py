"""The JSON endpoints of notifications."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from neurant.api.call import Call, needs
from neurant.api.listing import Page
from neurant.api.route import api_router
from neurant.core.errors import NotFoundError
from neurant.notifications import queries
from neurant.notifications.descriptions import describe_notification
from neurant.notifications.schemas import (
    Notification,
    NotificationId,
    NotificationOut,
    NotificationQuery,
    ReadAllOut,
)
from neurant.texts import preferred_language

router = api_router("notifications")
Reading = Annotated[Call, needs("notifications.read")]


@router.get("/notifications")
async def list_notifications(
    call: Reading, query: Annotated[NotificationQuery, Query()]
) -> Page[NotificationOut]:
    """List the caller's notifications, the newest first.

    Every member of the company may call it, for their own notifications.
    """
    data, cursor = await queries.list_notifications(call.connection, query)
    return Page(data=[_out(call, one) for one in data], next_cursor=cursor)


@router.post("/notifications/read-all")
async def read_all_notifications(call: Reading) -> ReadAllOut:
    """Mark all of the caller's notifications as read and return how many were unread.

    Every member of the company may call it, for their own notifications.
    """
    return ReadAllOut(read=await queries.mark_all_read(call.connection))


@router.post("/notifications/{notification_id}/read")
async def read_notification(call: Reading, notification_id: NotificationId) -> NotificationOut:
    """Mark one of the caller's notifications as read and return it.

    Every member of the company may call it. If it was read before, the time of the first reading
    stays.
    """
    read = await queries.mark_read(call.connection, notification_id)
    if read is None:
        raise NotFoundError("not_found")
    return _out(call, read)


def _out(call: Call, one: Notification) -> NotificationOut:
    language = preferred_language(call.request.headers.get("accept-language"))
    return NotificationOut(
        id=one.id,
        kind=one.kind,
        text=describe_notification(one.kind, one.details, language),
        details=one.details,
        created_at=one.created_at,
        read_at=one.read_at,
    )
