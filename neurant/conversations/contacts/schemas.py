"""The query parameters and response bodies of contacts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Path
from pydantic import BaseModel, Field

from neurant.api.listing import ListQuery
from neurant.core.text_types import STORABLE

Channel = Literal["whatsapp", "telegram", "slack", "web"]


ContactId = Annotated[UUID, Path(description="The id of the contact")]


class ContactOut(BaseModel):
    """An end user as one channel identifies them. An erased contact has no personal data."""

    id: UUID = Field(description="The id of the contact")
    chatbot_id: UUID = Field(description="The bot that the end user writes to")
    channel: Channel = Field(description="The channel on which the end user writes")
    channel_account_id: UUID = Field(description="The id of the bot's account on that channel")
    end_user_id: str = Field(description="The channel's id of the end user")
    name: str | None = Field(description="The name that the channel gives; null: unknown")
    first_seen_at: datetime = Field(description="When the end user's first conversation began")
    last_seen_at: datetime = Field(
        description="When the end user was last active, updated when a conversation begins or ends"
    )
    erased_at: datetime | None = Field(
        description="When the contact was erased; null: it is not erased"
    )


class ContactQuery(ListQuery):
    """The filters and the order of the list."""

    chatbot_id: UUID | None = Field(
        default=None, description="Only contacts of this bot; omitted: all bots"
    )
    channel: Channel | None = Field(
        default=None, description="Only contacts of this channel; omitted: all channels"
    )
    is_erased: bool | None = Field(
        default=None, description="Only erased (true) or not erased (false) contacts; omitted: both"
    )
    q: Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S"), STORABLE] | None = Field(
        default=None,
        description="Text that the name, or the channel's id of the end user, must contain",
    )
    sort: Literal["-last_seen_at", "last_seen_at"] = Field(
        default="-last_seen_at", description="The field to sort by; ``-`` means descending"
    )
