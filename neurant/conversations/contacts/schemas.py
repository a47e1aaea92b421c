"""Contacts on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from neurant.api.listing import ListQuery
from neurant.core.text_types import STORABLE

Channel = Literal["whatsapp", "telegram", "slack", "web"]


class ContactOut(BaseModel):
    """An end user as one channel knows them. Of an erased one, only that there was somebody."""

    id: UUID
    chatbot_id: UUID
    channel: Channel
    channel_account_id: UUID
    end_user_id: str = Field(description="As the channel calls them")
    name: str | None
    first_seen_at: datetime
    last_seen_at: datetime
    erased_at: datetime | None


class ContactQuery(ListQuery):
    """The filters and sorts of the list."""

    chatbot_id: UUID | None = None
    channel: Channel | None = None
    is_erased: bool | None = None
    q: Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S"), STORABLE] | None = Field(
        default=None, description="Parts of the name, or of what the channel calls them"
    )
    sort: Literal["-last_seen_at", "last_seen_at"] = "-last_seen_at"
