"""The page of notifications, and the count of unread notifications."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from neurant.api.listing import Cursor
from neurant.auth.current import PageStaff
from neurant.console.context import console_context, require_in_context
from neurant.console.page_route import PageRoute
from neurant.console.templating import markup, render
from neurant.core.db.tenancy import tenant
from neurant.core.errors import NotFoundError
from neurant.core.language import reader_language
from neurant.core.services import services_of
from neurant.notifications import queries
from neurant.notifications.descriptions import describe_notification, symbol, target
from neurant.notifications.schemas import Notification, NotificationQuery
from neurant.texts import Language

PAGE = "/console/notifications"
_PAGE_SIZE = 50

router = APIRouter(prefix=PAGE, route_class=PageRoute, include_in_schema=False)


@router.get("", response_class=HTMLResponse)
async def notifications_page(
    request: Request,
    staff: PageStaff,
    show: str = "",
    cursor: Annotated[Cursor | None, Query()] = None,
) -> Response:
    """Show the reader's notifications, newest first; ``show=unread`` shows only unread ones."""
    unread = show == "unread"
    query = NotificationQuery(limit=_PAGE_SIZE, cursor=cursor, unread=True if unread else None)
    async with tenant(services_of(request).pool, staff.principal) as connection:
        context = await console_context(connection, staff)
        require_in_context(context, "notifications.read")
        found, following = await queries.list_notifications(connection, query)
    shown = [_shown(one, reader_language(request)) for one in found]
    return render(
        request,
        "notifications/notifications.html",
        notifications=shown,
        only_unread=unread,
        next_cursor=following,
        is_first=cursor is None,
        **context,
    )


@router.get("/unread", response_class=HTMLResponse)
async def unread_count(request: Request, staff: PageStaff) -> Response:
    """Return the count of unread notifications for the page's script."""
    async with tenant(services_of(request).pool, staff.principal) as connection:
        context = await console_context(connection, staff)
    return HTMLResponse(markup(request, "notifications/unread.html", **context))


@router.post("/read-all")
async def read_all(request: Request, staff: PageStaff) -> Response:
    """Mark all notifications of the reader as read."""
    async with tenant(services_of(request).pool, staff.principal) as connection:
        await queries.mark_all_read(connection)
    return RedirectResponse(PAGE, 303)


@router.post("/open")
async def open_notification(
    request: Request, staff: PageStaff, notification_id: Annotated[UUID, Form()]
) -> Response:
    """Mark a notification as read and redirect to its target."""
    async with tenant(services_of(request).pool, staff.principal) as connection:
        read = await queries.mark_read(connection, notification_id)
    if read is None:
        raise NotFoundError("not_found")
    return RedirectResponse(target(read.kind, read.details) or PAGE, 303)


def _shown(one: Notification, language: Language) -> dict[str, Any]:
    return {
        "id": one.id,
        "text": describe_notification(one.kind, one.details, language),
        "symbol": symbol(one.kind),
        "leads": target(one.kind, one.details) is not None,
        "created_at": one.created_at,
        "is_new": one.read_at is None,
    }
