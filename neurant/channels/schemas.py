"""The bodies of the endpoints that connect, change and list channels."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from neurant.api.listing import ListQuery
from neurant.core.text_types import IS_NAME, STORABLE, formatted

DisplayName = Annotated[
    str,
    Field(min_length=1, max_length=255, pattern=r"\S"),
    formatted("name"),
    IS_NAME,
    STORABLE,
]
Token = Annotated[str, Field(pattern=r"^[0-9]{3,20}:[A-Za-z0-9_-]{20,100}$")]
State = Literal["connected", "paused", "error", "disconnected"]


class ChannelIn(BaseModel):
    """A channel to connect to a bot."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "anyOf": [
                {"properties": {"channel": {"const": "web"}, "token": {"type": "null"}}},
                {
                    "properties": {"channel": {"const": "telegram"}, "token": {"type": "string"}},
                    "required": ["token"],
                },
            ]
        },
    )

    channel: Literal["web", "telegram"] = Field(description="The kind of channel")
    display_name: DisplayName | None = Field(
        default=None,
        description="The name of a web chat; null: Chat web. Telegram gives its own name",
    )
    token: Token | None = Field(
        default=None,
        description="The Telegram bot's token from @BotFather, required for Telegram only. It is"
        " stored encrypted and never shown again",
    )


class ChannelPatch(BaseModel):
    """The changes of a channel; an omitted field keeps its value."""

    model_config = ConfigDict(extra="forbid")

    display_name: DisplayName = Field(default="", description="The channel's new name")
    status: Literal["connected", "paused", "disconnected"] = Field(
        default="connected",
        description="connected resumes the channel, paused and disconnected stop it",
    )


class ChannelOut(BaseModel):
    """A channel of a bot."""

    id: UUID = Field(description="The id of the channel")
    chatbot_id: UUID = Field(description="The bot that answers on the channel")
    channel: str = Field(description="The kind of channel: web, telegram")
    display_name: str = Field(
        description="The name of a web chat, or of the Telegram bot with its @"
    )
    status: str = Field(description="connected, paused, error or disconnected")
    status_detail: str | None = Field(
        description="The reason for the status; null: there is nothing to report"
    )
    chat_url: str | None = Field(
        description="The address of the web chat's page; null: no web chat"
    )
    embed: str | None = Field(
        description="The HTML that puts the web chat on another site; null: no web chat"
    )
    created_at: datetime = Field(description="The time of the first connection")
    updated_at: datetime = Field(description="The time of the last change")


class ChannelQuery(ListQuery):
    """The filters and sort orders of the list of channels."""

    chatbot_id: UUID | None = Field(default=None, description="Only channels of this bot")
    status: State | None = Field(default=None, description="Only channels with this status")
    sort: Literal["created_at", "-created_at"] = Field(
        default="created_at", description="The field to sort by; a minus sign: descending"
    )
