"""Bots, their templates, who serves them, and what they would answer, over the API."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from neurant.api.call import Call, needs
from neurant.api.etag import check_match, tagged
from neurant.api.listing import Page
from neurant.api.route import api_router
from neurant.chatbots import queries, service, template_queries
from neurant.chatbots.schemas import (
    ChatbotIn,
    ChatbotOut,
    ChatbotPatch,
    ChatbotQuery,
    PreviewIn,
    PreviewOut,
    TemplateOut,
    TemplateQuery,
)
from neurant.core.errors import NotFoundError

router = api_router("chatbots")
templates = api_router("templates")
Reading = Annotated[Call, needs("chatbots.read")]
Editing = Annotated[Call, needs("chatbots.edit")]
Retiring = Annotated[Call, needs("chatbots.retire")]
Choosing = Annotated[Call, needs("templates.read")]


@router.get("/chatbots")
async def list_chatbots(call: Reading, query: Annotated[ChatbotQuery, Query()]) -> Page[ChatbotOut]:
    """The bots that the caller may see: all of the company's, or those that an operador serves."""
    data, cursor = await queries.list_chatbots(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@router.post("/chatbots", status_code=201)
async def create_chatbot(call: Editing, new: ChatbotIn, response: Response) -> ChatbotOut:
    """A bot, from a template or from nothing. Nobody reaches it until a channel is connected."""
    made = await service.create(call.connection, new)
    response.headers["location"] = f"/v1/chatbots/{made.id}"
    tagged(response, made, ChatbotPatch)
    return made


@router.get("/chatbots/{chatbot_id}")
async def get_chatbot(call: Reading, chatbot_id: UUID, response: Response) -> ChatbotOut:
    """One bot."""
    found = await service.find(call.connection, chatbot_id)
    tagged(response, found, ChatbotPatch)
    return found


@router.patch("/chatbots/{chatbot_id}")
async def change_chatbot(
    call: Editing, chatbot_id: UUID, patch: ChatbotPatch, response: Response
) -> ChatbotOut:
    """Change what is given; with If-Match only if nobody changed it meanwhile."""
    current = await service.find(call.connection, chatbot_id, locked=True)
    check_match(call.request, current, ChatbotPatch)
    await service.change(call.connection, chatbot_id, patch, current)
    return await get_chatbot(call, chatbot_id, response)


@router.post("/chatbots/{chatbot_id}/retire", status_code=204)
async def retire_chatbot(call: Retiring, chatbot_id: UUID) -> None:
    """Take a bot out of service for good: its channels are disconnected, its place in the plan is
    free, its conversations stay."""
    if not await queries.retire_chatbot(call.connection, chatbot_id):
        raise NotFoundError("not_found")


@router.post("/chatbots/{chatbot_id}/preview")
async def preview_chatbot(call: Reading, chatbot_id: UUID, asked: PreviewIn) -> PreviewOut:
    """What the bot would answer, also with settings that are not saved. Nothing is stored, sent
    or counted against the plan."""
    trial = await service.begin_trial(call.connection, chatbot_id, asked)
    async with call.outside():
        vector = await service.trial_vector(call.caller.company_id, trial)
    return await service.answer_trial(call.connection, trial, vector)


@templates.get("/chatbot-templates")
async def list_templates(
    call: Choosing, query: Annotated[TemplateQuery, Query()]
) -> Page[TemplateOut]:
    """What a bot can begin from."""
    data, cursor = await template_queries.list_templates(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@templates.get("/chatbot-templates/{template_id}")
async def get_template(call: Choosing, template_id: UUID) -> TemplateOut:
    """One template with its example conversations."""
    found = await template_queries.get_template(call.connection, template_id)
    if found is None:
        raise NotFoundError("not_found")
    return found
