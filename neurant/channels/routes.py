"""The endpoints that connect a bot to the web and to Telegram, and pause or disconnect it."""

from __future__ import annotations

import secrets
from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from neurant.api.call import Call, needs
from neurant.api.etag import check_match, tagged
from neurant.api.listing import Page
from neurant.api.route import api_router
from neurant.channels import queries
from neurant.channels.schemas import ChannelIn, ChannelOut, ChannelPatch, ChannelQuery
from neurant.channels.service import channel_out
from neurant.channels.telegram import setup
from neurant.core.errors import BadInputError, ConflictError, NotFoundError
from neurant.core.services import services_of

router = api_router("channels")
Reading = Annotated[Call, needs("channels.read")]
Managing = Annotated[Call, needs("channels.manage")]


async def _found(call: Call, account_id: UUID) -> ChannelOut:
    row = await queries.get_account(call.connection, account_id)
    if row is None:
        raise NotFoundError("not_found")
    return channel_out(services_of(call.request).settings, row)


@router.get("/channels")
async def list_channels(call: Reading, query: Annotated[ChannelQuery, Query()]) -> Page[ChannelOut]:
    """List the channels of the bots that the caller may see."""
    chosen = query.model_dump(include={"chatbot_id", "status"})
    rows, cursor = await queries.list_accounts(call.connection, query, query.sort, chosen)
    return Page(
        data=[channel_out(services_of(call.request).settings, row) for row in rows],
        next_cursor=cursor,
    )


@router.get("/channels/{account_id}")
async def get_channel(call: Reading, account_id: UUID, response: Response) -> ChannelOut:
    """Return one channel."""
    found = await _found(call, account_id)
    tagged(response, found, ChannelPatch)
    return found


@router.post("/chatbots/{chatbot_id}/channels", status_code=201)
async def connect_channel(
    call: Managing, chatbot_id: UUID, new: ChannelIn, response: Response
) -> ChannelOut:
    """Connect a bot to a channel.

    A Telegram bot that was connected before gets the new token. Answers 201 with the channel and
    its ``Location``.

    Refuses: 409 ``telegram_token_refused`` if Telegram does not accept the token; 409
    ``limit.next.channels`` or ``limit.last.channels`` if the plan does not have this channel; 422
    ``chatbots.token_needed`` or ``chatbots.token_unneeded`` if the token does not match the kind of
    channel; 429 ``api.busy_outside`` if other requests of the company to other servers are running;
    503 ``telegram_away`` if Telegram does not answer.
    """
    made = await connect(call, chatbot_id, new)
    response.headers["location"] = f"/v1/channels/{made.id}"
    tagged(response, made, ChannelPatch)
    return made


async def connect(call: Call, chatbot_id: UUID, new: ChannelIn) -> ChannelOut:
    """Connect a bot to a channel.

    Raises BadInputError (missing or needless token), NotFoundError (no such bot), ConflictError
    (token rejected), RateLimitedError (too many calls to other servers) and UnavailableError
    (Telegram does not answer).
    """
    if new.channel == "web":
        if new.token is not None:
            raise BadInputError("chatbots.token_unneeded")
        account_id = await queries.connect_web(
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
    async with call.without_connection():
        name = await setup.ask_name(settings, company_id, token)
    found = await setup.prepare(call.connection, settings, company_id, chatbot_id, token, name)
    async with call.without_connection():
        await setup.set_webhook(settings, found)
    return await setup.store(call.connection, settings, found)


@router.patch("/channels/{account_id}")
async def change_channel(
    call: Managing, account_id: UUID, patch: ChannelPatch, response: Response
) -> ChannelOut:
    """Pause, resume, disconnect or rename a channel.

    Messages that arrive while the channel is paused or disconnected are refused.

    Refuses: 409 ``chatbots.channel_retired`` if the bot of the channel is retired.
    """
    current = await _found(call, account_id)
    check_match(call.request, current, ChannelPatch)
    changes = patch.model_dump(exclude_unset=True)
    if "status" in changes:
        changes["status_detail"] = None
    if changes and not await queries.update_account(call.connection, account_id, changes):
        raise ConflictError("chatbots.channel_retired")
    return await get_channel(call, account_id, response)
