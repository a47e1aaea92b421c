"""The context of the console's layout: the reader, the permissions and the counts of a page."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from neurant.auth.people import SignedIn
from neurant.console.notice import Notice
from neurant.core.db.pool import Connection, fetch_one
from neurant.core.errors import ForbiddenError

_MAX_UNREAD = 100
_CONTEXT = """
select array(select private.my_permissions()) as may,
  coalesce((select k.timezone from public.companies k), 'UTC') as timezone,
  (select count(*) from public.conversations c
    where c.is_hitl_active and c.assigned_operator_id is null) as waiting,
  (select count(*) from (
    select from public.notifications n where n.read_at is null limit %s) u) as unread
"""
_MAY = "select array(select private.my_permissions()) as may"


@dataclass(frozen=True, slots=True)
class _ConsoleContext:
    may: list[str]
    timezone: str
    waiting: int
    unread: int


@dataclass(frozen=True, slots=True)
class _PermissionNames:
    may: list[str]


async def my_permissions(connection: Connection) -> frozenset[str]:
    """Return the permissions that the caller has at this moment."""
    found = await fetch_one(connection, _PermissionNames, _MAY)
    return frozenset(found.may) if found else frozenset()


async def console_context(
    connection: Connection, staff: SignedIn, notice: Notice | None = None
) -> dict[str, Any]:
    """Return the context of ``layouts/console.html``, read in the reader's own transaction.

    ``may``: the reader's permissions; ``waiting``: the number of conversations in the queue;
    ``unread``: the number of unread notifications, at most 100; ``timezone``: the company's time
    zone, in which the page shows times.
    """
    found = await fetch_one(connection, _ConsoleContext, _CONTEXT, (_MAX_UNREAD,))
    shown = found or _ConsoleContext([], "UTC", 0, 0)
    return {
        "staff": staff,
        "notice": notice,
        "may": frozenset(shown.may),
        "timezone": shown.timezone,
        "waiting": shown.waiting,
        "unread": shown.unread,
    }


async def require_permission(connection: Connection, permission: str) -> None:
    """Raise ForbiddenError if the caller lacks ``permission``. For actions without a context."""
    require_in_context({"may": await my_permissions(connection)}, permission)


def require_in_context(context: dict[str, Any], permission: str) -> None:
    """Raise ForbiddenError if the reader of a page with ``context`` lacks ``permission``."""
    may: Collection[str] = context["may"]
    if permission not in may:
        raise ForbiddenError("api.not_permitted", permission=permission)
