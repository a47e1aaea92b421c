"""What every page of the console needs around its content: who reads it, what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from neurant.accounts.schemas import SignedIn
from neurant.console.inbox_page import Notice
from neurant.conversations.queries import company_timezone, count_conversations
from neurant.database.pool import Connection, fetch_all
from neurant.errors import ForbiddenError

_MAY = "select name from private.my_permissions() as name"


@dataclass(frozen=True, slots=True)
class _Permission:
    name: str


async def my_permissions(connection: Connection) -> frozenset[str]:
    """What the reader may do at this moment."""
    return frozenset(row.name for row in await fetch_all(connection, _Permission, _MAY))


async def frame(
    connection: Connection, staff: SignedIn, notice: Notice | None = None
) -> dict[str, Any]:
    """The context of ``console.html``, with ``may``: the reader's permissions."""
    return {
        "staff": staff,
        "notice": notice,
        "may": await my_permissions(connection),
        "timezone": await company_timezone(connection),
        "waiting": (await count_conversations(connection)).queue,
    }


def demand(context: dict[str, Any], permission: str) -> None:
    """Refuse a page to who may not do what it is for. Raises ForbiddenError."""
    if permission not in context["may"]:
        raise ForbiddenError("api.not_permitted", permission=permission)
