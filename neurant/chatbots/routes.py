"""The endpoints for bots, their templates, and previews of their answers."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from neurant.api.call import Call, needs
from neurant.api.etag import check_match, tagged
from neurant.api.listing import Page
from neurant.api.route import api_router
from neurant.chatbots import queries, service, template_queries
from neurant.chatbots.preview import read_preview
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
from neurant.core.language import reader_language
from neurant.core.services import services_of
from neurant.language_models.service import LanguageModels

router = api_router("chatbots")
templates = api_router("templates")
Reading = Annotated[Call, needs("chatbots.read")]
Editing = Annotated[Call, needs("chatbots.edit")]
Retiring = Annotated[Call, needs("chatbots.retire")]
Choosing = Annotated[Call, needs("templates.read")]


@router.get("/chatbots")
async def list_chatbots(call: Reading, query: Annotated[ChatbotQuery, Query()]) -> Page[ChatbotOut]:
    """List the bots of the company that the caller may see."""
    data, cursor = await queries.list_chatbots(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@router.post("/chatbots", status_code=201)
async def create_chatbot(call: Editing, new: ChatbotIn, response: Response) -> ChatbotOut:
    """Create a bot, from a template or from its own settings.

    Nobody reaches the bot until a channel is connected. Answers 201 with the bot and its
    ``Location``.

    Refuses: 409 ``chatbots.name_taken`` if another bot of the company has the name; 409
    ``chatbots.unknown_template`` if the template does not exist; 409 ``limit.next.max_chatbots`` or
    ``limit.last.max_chatbots`` if the plan allows no more bots; 422 ``chatbots.prompt_needed`` if
    both template and ``system_prompt`` are missing.
    """
    made = await service.create(call.connection, new)
    response.headers["location"] = f"/v1/chatbots/{made.id}"
    tagged(response, made, ChatbotPatch)
    return made


@router.get("/chatbots/{chatbot_id}")
async def get_chatbot(call: Reading, chatbot_id: UUID, response: Response) -> ChatbotOut:
    """Return one bot with its settings and figures."""
    found = await service.find(call.connection, chatbot_id)
    tagged(response, found, ChatbotPatch)
    return found


@router.patch("/chatbots/{chatbot_id}")
async def change_chatbot(
    call: Editing, chatbot_id: UUID, patch: ChatbotPatch, response: Response
) -> ChatbotOut:
    """Change the given settings of a bot.

    A field that is left out keeps its value. A new name or persona also replaces the old one in the
    texts that introduce the bot.

    Refuses: 409 ``chatbots.name_taken`` if another bot of the company has the name; 409
    ``chatbots.retired`` if the bot is retired.
    """
    current = await service.find(call.connection, chatbot_id, locked=True)
    check_match(call.request, current, ChatbotPatch)
    await service.change(call.connection, chatbot_id, patch, current)
    return await get_chatbot(call, chatbot_id, response)


@router.post("/chatbots/{chatbot_id}/retire", status_code=204)
async def retire_chatbot(call: Retiring, chatbot_id: UUID) -> None:
    """Retire a bot for good.

    Its channels are disconnected and its place in the plan is free; its conversations stay.
    """
    if not await queries.retire_chatbot(call.connection, chatbot_id):
        raise NotFoundError("not_found")


@router.post("/chatbots/{chatbot_id}/preview")
async def preview_chatbot(call: Reading, chatbot_id: UUID, asked: PreviewIn) -> PreviewOut:
    """Return the answer that a bot would give to a message.

    Settings that are not saved can be tried. Nothing is stored, sent or counted against the plan;
    what a language model uses is counted against its budget. ``explanation`` says why the bot would
    answer so.
    """
    state, principal = services_of(call.request), call.caller.principal
    trial = await service.begin_trial(call.connection, chatbot_id, asked)
    async with call.without_connection():
        searched = await read_preview(state.pool, state.get(LanguageModels), principal, trial)
    language = reader_language(call.request)
    return await service.answer_trial(call.connection, trial, searched, language)


@templates.get("/chatbot-templates")
async def list_templates(
    call: Choosing, query: Annotated[TemplateQuery, Query()]
) -> Page[TemplateOut]:
    """List the templates from which a bot can be created."""
    data, cursor = await template_queries.list_templates(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@templates.get("/chatbot-templates/{template_id}")
async def get_template(call: Choosing, template_id: UUID) -> TemplateOut:
    """Return one template with its example conversations."""
    found = await template_queries.get_template(call.connection, template_id)
    if found is None:
        raise NotFoundError("not_found")
    return found
