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
    """A channel to connect."""

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

    channel: Literal["web", "telegram"] = Field(description="Kind of channel: web or telegram")
    display_name: DisplayName | None = Field(
        default=None, description="Name of the channel, for people; null: a standard name"
    )
    token: Token | None = Field(
        default=None,
        description="Token of the Telegram bot from @BotFather; stored encrypted, never shown. "
        "null: web chat",
    )


class ChannelPatch(BaseModel):
    """Changes of a channel: pause, resume and disconnect it by ``status``, or rename it."""

    model_config = ConfigDict(extra="forbid")

    display_name: DisplayName = Field(default="", description="New name of the channel, for people")
    status: Literal["connected", "paused", "disconnected"] = Field(
        default="connected",
        description="connected: resume; paused: pause; disconnected: disconnect",
    )


class ChannelOut(BaseModel):
    """A connected channel."""

    id: UUID = Field(description="UUID of the channel")
    chatbot_id: UUID = Field(description="UUID of the bot that answers")
    channel: str = Field(description="Kind of channel: web or telegram")
    display_name: str = Field(description="Name of the channel, for people")
    status: str = Field(description="connected, paused, error or disconnected")
    status_detail: str | None = Field(description="Cause of an error; null: none")
    chat_url: str | None = Field(description="Address of the web chat's page; null: not a web chat")
    embed: str | None = Field(
        description="HTML that adds the web chat to another site; null: not a web chat"
    )
    created_at: datetime = Field(description="When the channel was connected")
    updated_at: datetime = Field(description="When the channel last changed")


class ChannelQuery(ListQuery):
    """The filters and sort orders of the list of channels."""

    chatbot_id: UUID | None = Field(default=None, description="Only channels of this bot")
    status: State | None = Field(default=None, description="Only channels in this state")
    sort: Literal["created_at", "-created_at"] = Field(
        default="created_at", description="Order of the rows; - reverses it"
    )
