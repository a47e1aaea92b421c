"""Connecting a bot to the web and to Telegram, and pausing or disconnecting it, over the API."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from neurant.api.call import Call, needs
from neurant.api.etag import check_match, tagged
from neurant.api.listing import ListQuery, Page
from neurant.api.route import api_router
from neurant.channels import queries as account_queries
from neurant.channels.queries import AccountRow
from neurant.channels.telegram import setup
from neurant.core.errors import BadInputError, ConflictError, NotFoundError
from neurant.core.services import services_of
from neurant.core.text_types import IS_NAME, STORABLE, formatted

router = api_router("channels")
Reading = Annotated[Call, needs("channels.read")]
Managing = Annotated[Call, needs("channels.manage")]
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


def shown(request: Request, row: AccountRow) -> ChannelOut:
    """A channel as the API tells it."""
    base = services_of(request).settings.base_url()
    is_web = row.channel == "web"
    return ChannelOut(
        **row.model_dump(exclude={"routing_id"}),
        chat_url=f"{base}/chat/{row.routing_id}" if is_web else None,
        embed=(
            f'<script src="{base}/widget.js" data-bot="{row.routing_id}" async></script>'
            if is_web
            else None
        ),
    )


async def _found(call: Call, account_id: UUID) -> ChannelOut:
    row = await account_queries.get_account(call.connection, account_id)
    if row is None:
        raise NotFoundError("not_found")
    return shown(call.request, row)


@router.get("/channels")
async def list_channels(call: Reading, query: Annotated[ChannelQuery, Query()]) -> Page[ChannelOut]:
    """The channels of the bots that the caller may see."""
    chosen = query.model_dump(include={"chatbot_id", "status"})
    rows, cursor = await account_queries.list_accounts(call.connection, query, query.sort, chosen)
    return Page(data=[shown(call.request, row) for row in rows], next_cursor=cursor)


@router.get("/channels/{account_id}")
async def get_channel(call: Reading, account_id: UUID, response: Response) -> ChannelOut:
    """One channel."""
    found = await _found(call, account_id)
    tagged(response, found, ChannelPatch)
    return found


@router.post("/chatbots/{chatbot_id}/channels", status_code=201)
async def connect_channel(
    call: Managing, chatbot_id: UUID, new: ChannelIn, response: Response
) -> ChannelOut:
    """Connect a bot to a channel; a Telegram bot that was connected before gets the new token."""
    made = await connect(call, chatbot_id, new)
    response.headers["location"] = f"/v1/channels/{made.id}"
    tagged(response, made, ChannelPatch)
    return made


async def connect(call: Call, chatbot_id: UUID, new: ChannelIn) -> ChannelOut:
    """Connect a channel. Raises BadInputError, NotFoundError, UnavailableError (Telegram)."""
    if new.channel == "web":
        if new.token is not None:
            raise BadInputError("chatbots.token_unneeded")
        account_id = await account_queries.connect_web(
            call.connection, chatbot_id, secrets.token_urlsafe(18), new.display_name or "Chat web"
        )
    else:
        if new.token is None:
            raise BadInputError("chatbots.token_needed")
        account_id = await _connect_telegram(call, chatbot_id, new.token)
    if account_id is None:
        raise NotFoundError("not_found")
    return await _found(call, account_id)


async def _connect_telegram(call: Call, chatbot_id: UUID, token: str) -> UUID | None:
    settings, company_id = services_of(call.request).settings, call.caller.company_id
    if not await setup.is_theirs(call.connection, chatbot_id):
        return None
    async with call.outside():
        name = await setup.ask_name(settings, company_id, token)
    found = await setup.prepare(call.connection, settings, company_id, chatbot_id, token, name)
    async with call.outside():
        await setup.set_webhook(settings, found)
    return await setup.store(call.connection, settings, found)


@router.patch("/channels/{account_id}")
async def change_channel(
    call: Managing, account_id: UUID, patch: ChannelPatch, response: Response
) -> ChannelOut:
    """Pause, resume or disconnect a channel, or rename it. What arrives meanwhile is refused."""
    current = await _found(call, account_id)
    check_match(call.request, current, ChannelPatch)
    changes = patch.model_dump(exclude_unset=True)
    if "status" in changes:
        changes["status_detail"] = None
    if changes and not await account_queries.update_account(call.connection, account_id, changes):
        raise ConflictError("chatbots.channel_retired")
    return await get_channel(call, account_id, response)
