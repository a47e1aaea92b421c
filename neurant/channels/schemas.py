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
    """A channel to connect. ``token``: of the Telegram bot, by @BotFather; it is kept sealed and
    never shown again."""

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

    channel: Literal["web", "telegram"]
    display_name: DisplayName | None = None
    token: Token | None = None


class ChannelPatch(BaseModel):
    """What may be changed: pause, resume and disconnect by ``status``."""

    model_config = ConfigDict(extra="forbid")

    display_name: DisplayName = ""
    status: Literal["connected", "paused", "disconnected"] = "connected"


class ChannelOut(BaseModel):
    """A connected channel. Of a web chat: its page, and the line that puts it on another site."""

    id: UUID
    chatbot_id: UUID
    channel: str
    display_name: str
    status: str
    status_detail: str | None
    chat_url: str | None
    embed: str | None
    created_at: datetime
    updated_at: datetime


class ChannelQuery(ListQuery):
    """The filters and sorts of the list."""

    chatbot_id: UUID | None = None
    status: State | None = None
    sort: Literal["created_at", "-created_at"] = "created_at"
