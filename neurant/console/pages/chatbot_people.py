"""The actions of a bot's page on people and channels: assign, put in charge, connect, pause."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from neurant.auth.current import PageStaff, check_origin
from neurant.auth.people import SignedIn
from neurant.channels import queries as account_queries
from neurant.channels.telegram.setup import connect_in_steps
from neurant.chatbots import people_queries, service
from neurant.console.context import console_context, require_in_context
from neurant.console.page_route import PageRoute
from neurant.console.pages.chatbots import PAGE, bot_answer
from neurant.core.db.pool import Connection
from neurant.core.errors import BadInputError, NeurantError, NotFoundError
from neurant.core.services import services_of
from neurant.plans.limits import within_limits

router = APIRouter(prefix=PAGE, route_class=PageRoute, include_in_schema=False)
Id = Annotated[UUID, Form()]
Text = Annotated[str, Form()]
_STATES = ("connected", "paused", "disconnected")


@asynccontextmanager
async def _acting(
    request: Request, staff: SignedIn, chatbot_id: UUID, permission: str
) -> AsyncIterator[Connection]:
    """Open a transaction for an action on a bot. Raises ForbiddenError and NotFoundError."""
    check_origin(request)
    async with within_limits(services_of(request).pool, staff.principal) as connection:
        await service.find(connection, chatbot_id)
        require_in_context(await console_context(connection, staff), permission)
        yield connection


def _back(chatbot_id: UUID, notice: str, section: str) -> RedirectResponse:
    return RedirectResponse(f"{PAGE}/{chatbot_id}?notice={notice}#{section}", 303)


@router.post("/{chatbot_id}/operators")
async def assign(request: Request, staff: PageStaff, chatbot_id: UUID, user_id: Id) -> Response:
    """Assign an operador to the bot."""
    try:
        async with _acting(request, staff, chatbot_id, "chatbots.assign_operators") as connection:
            await service.assign_operator(connection, chatbot_id, user_id)
    except BadInputError as error:
        return await bot_answer(request, staff, chatbot_id, error)
    return _back(chatbot_id, "assigned", "people")


@router.post("/{chatbot_id}/operators/release")
async def release(request: Request, staff: PageStaff, chatbot_id: UUID, user_id: Id) -> Response:
    """Remove an operador from the bot."""
    async with _acting(request, staff, chatbot_id, "chatbots.assign_operators") as connection:
        if not await people_queries.release_operator(connection, chatbot_id, user_id):
            raise NotFoundError("not_found")
    return _back(chatbot_id, "released", "people")


@router.post("/{chatbot_id}/supervisor")
async def appoint(
    request: Request, staff: PageStaff, chatbot_id: UUID, user_id: Text = ""
) -> Response:
    """Put a supervisor in charge of the bot, or remove the supervisor."""
    try:
        async with _acting(request, staff, chatbot_id, "chatbots.assign_supervisor") as connection:
            if user_id:
                await service.put_in_charge(connection, chatbot_id, _id(user_id))
            else:
                await people_queries.dismiss_supervisor(connection, chatbot_id)
    except BadInputError as error:
        return await bot_answer(request, staff, chatbot_id, error)
    return _back(chatbot_id, "assigned", "people")


@router.post("/{chatbot_id}/channels")
async def connect(
    request: Request, staff: PageStaff, chatbot_id: UUID, channel: Text = "", token: Text = ""
) -> Response:
    """Connect the web chat or a Telegram bot."""
    try:
        if channel == "telegram":
            if not token.strip():
                raise BadInputError("chatbots.token_needed")
            await connect_in_steps(
                lambda: _acting(request, staff, chatbot_id, "channels.manage"),
                services_of(request).settings,
                staff.company_id,
                chatbot_id,
                token.strip(),
            )
        else:
            async with _acting(request, staff, chatbot_id, "channels.manage") as connection:
                await account_queries.connect_web(
                    connection, chatbot_id, secrets.token_urlsafe(18), "Chat web"
                )
    except NeurantError as error:
        if error.status in (403, 404):
            raise
        return await bot_answer(request, staff, chatbot_id, error)
    return _back(chatbot_id, "connected", "channels")


@router.post("/{chatbot_id}/channels/{account_id}")
async def change_channel(
    request: Request, staff: PageStaff, chatbot_id: UUID, account_id: UUID, status: Text
) -> Response:
    """Pause, resume or disconnect a channel."""
    if status not in _STATES:
        raise NotFoundError("not_found")
    try:
        async with _acting(request, staff, chatbot_id, "channels.manage") as connection:
            changes = {"status": status, "status_detail": None}
            if not await account_queries.update_account(connection, account_id, changes):
                raise NotFoundError("not_found")
    except NeurantError as error:
        if error.status in (403, 404):
            raise
        return await bot_answer(request, staff, chatbot_id, error)
    return _back(chatbot_id, "changed", "channels")


def _id(value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError:
        raise NotFoundError("not_found") from None
