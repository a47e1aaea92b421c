"""Bots over the API."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from fastapi import APIRouter, Request

from neurant.accounts.current import ApiStaff
from neurant.database.pool import fetch_all
from neurant.database.tenancy import tenant

router = APIRouter(prefix="/v1", tags=["chatbots"])

_BOTS = """
select b.id, b.name, b.description, b.is_active, b.channels
from public.chatbots b
where b.retired_at is null
order by b.name
"""


@dataclass(frozen=True, slots=True)
class ChatbotOut:
    """A bot that the caller may see."""

    id: UUID
    name: str
    description: str | None
    is_active: bool
    channels: list[str]


@router.get("/chatbots")
async def list_chatbots(request: Request, staff: ApiStaff) -> list[ChatbotOut]:
    """The caller's bots by name."""
    async with tenant(request.app.state.pool, staff.principal) as connection:
        return await fetch_all(connection, ChatbotOut, _BOTS)
