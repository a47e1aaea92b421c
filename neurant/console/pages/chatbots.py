"""The pages of bots: the list, a new bot from a template, and a bot with its settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

import psycopg
from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError

from neurant.api.etag import etag_of
from neurant.api.listing import ListQuery
from neurant.auth.current import PageStaff, check_origin
from neurant.auth.people import SignedIn
from neurant.channels import queries as account_queries
from neurant.channels.service import channel_out
from neurant.chatbots import page_queries, people_queries, queries, service, template_queries
from neurant.chatbots.preview import read_preview
from neurant.chatbots.schemas import (
    DAYS,
    TONES,
    TRIGGERS,
    ChatbotIn,
    ChatbotOut,
    ChatbotPatch,
    PreviewEarlier,
    PreviewIn,
    TemplateQuery,
)
from neurant.companies.queries import list_industries
from neurant.console.context import console_context, require_in_context
from neurant.console.notice import Notice
from neurant.console.page_route import PageRoute
from neurant.console.pages import chatbot_forms as forms
from neurant.console.templating import markup, render, translator
from neurant.conversations.explanation import in_words
from neurant.core.db.pool import Connection
from neurant.core.db.tenancy import tenant
from neurant.core.errors import BadInputError, NeurantError, NotFoundError
from neurant.core.language import reader_language
from neurant.core.services import services_of
from neurant.language_models.service import LanguageModels
from neurant.plans.limits import channel_limit, list_usage, people_limit, within_limits
from neurant.texts.address import ADDRESSES, STYLES, usual_address

PAGE = "/console/bots"
_MAX_TEMPLATES = 200
_MAX_EARLIER, _MAX_EARLIER_LENGTH = 50, 5_000
_SENDERS: dict[str, Literal["customer", "bot"]] = {"customer": "customer", "bot": "bot"}

router = APIRouter(prefix=PAGE, route_class=PageRoute, include_in_schema=False)
Text = Annotated[str, Form()]
_NOTICES = {"saved", "created", "retired", "connected", "changed", "assigned", "released"}


def _notice(request: Request) -> Notice | None:
    notice = request.query_params.get("notice", "")
    t = translator(reader_language(request))
    return Notice("ok", "check", t(f"bots.notice.{notice}")) if notice in _NOTICES else None


@router.get("", response_class=HTMLResponse)
async def bots_page(request: Request, staff: PageStaff) -> Response:
    """Show the bots that the reader may see, with their channels and statistics."""
    async with tenant(services_of(request).pool, staff.principal) as connection:
        context = await console_context(connection, staff, _notice(request))
        require_in_context(context, "chatbots.read")
        cards = await page_queries.list_cards(connection)
        usage = {one.limit_name: one for one in await list_usage(connection)}
    return render(
        request, "bots/list.html", cards=cards, limit=usage.get("max_chatbots"), **context
    )


@router.get("/new", response_class=HTMLResponse)
async def new_page(
    request: Request, staff: PageStaff, template: str = "", industry: str = ""
) -> Response:
    """Show the templates; with ``template``, the form that creates a bot from it."""
    return await _new(request, staff, template, industry)


async def _new(
    request: Request,
    staff: SignedIn,
    template: str,
    industry: str = "",
    problem: str | None = None,
    given: dict[str, str] | None = None,
    error: NeurantError | None = None,
) -> Response:
    async with tenant(services_of(request).pool, staff.principal) as connection:
        context = await console_context(connection, staff)
        require_in_context(context, "chatbots.edit")
        context |= await gallery(connection, template, industry)
        context["no_people"] = people_limit(await list_usage(connection), reader_language(request))
    page = "bots/new.html" if context["chosen"] else "bots/gallery.html"
    return render(
        request, page, error=error, problem=problem, given=given or {}, tones=TONES, **context
    )


async def gallery(connection: Connection, template: str, industry: str) -> dict[str, Any]:
    """Return the templates (of ``industry``, if it has any) and the chosen template."""
    industries = await list_industries(connection)
    wanted = industry if industry in industries else None
    found, _ = await template_queries.list_templates(
        connection, TemplateQuery(industry=wanted, limit=_MAX_TEMPLATES, sort="name")
    )
    featured_first = sorted(found, key=lambda one: (not one.is_featured, one.name))
    chosen = next((one for one in found if str(one.id) == template), None)
    return {
        "templates": featured_first,
        "chosen": chosen,
        "free_name": await queries.free_name(connection),
        "industries": industries,
        "industry": wanted or "",
    }


@router.post("/new")
async def make_bot(
    request: Request,
    staff: PageStaff,
    template_id: Text = "",
    name: Text = "",
    persona: Text = "",
    tone: Text = "",
) -> Response:
    """Create a bot from a template and go to its settings."""
    check_origin(request)
    try:
        made = await make_from_template(request, staff, template_id, name, persona, tone)
    except NeurantError as error:
        given = {"name": name, "persona": persona, "tone": tone}
        detail = error.detail(reader_language(request))
        return await _new(request, staff, template_id, problem=detail, given=given, error=error)
    return RedirectResponse(f"{PAGE}/{made.id}?notice=created", 303)


async def make_from_template(
    request: Request, staff: SignedIn, template_id: str, name: str, persona: str, tone: str
) -> ChatbotOut:
    """Create a bot from the values of a page's form. Raises NeurantError."""
    traits = {"tone": tone, "persona": persona.strip()}
    try:
        new = ChatbotIn.model_validate(
            {
                "template_id": template_id,
                "name": name.strip(),
                "personality_traits": {key: value for key, value in traits.items() if value},
            }
        )
    except ValidationError as error:
        raise invalid(request, error) from None
    async with within_limits(services_of(request).pool, staff.principal) as connection:
        require_in_context(await console_context(connection, staff), "chatbots.edit")
        return await service.create(connection, new)


def invalid(request: Request, error: ValidationError) -> BadInputError:
    """Return the error that names the invalid fields as the page labels them."""
    t = translator(reader_language(request))
    wrong = ", ".join(t(f"bots.field.{name}") for name in forms.wrong_fields(error))
    return BadInputError("invalid_fields", fields=wrong)


@router.get("/{chatbot_id}", response_class=HTMLResponse)
async def bot_page(request: Request, staff: PageStaff, chatbot_id: UUID) -> Response:
    """Show a bot: its settings, trial chat, people and channels."""
    return await bot_answer(request, staff, chatbot_id)


async def bot_answer(
    request: Request,
    staff: SignedIn,
    chatbot_id: UUID,
    problem: NeurantError | None = None,
    typed: dict[str, Any] | None = None,
) -> Response:
    """Return the page of a bot; after an error, with the typed values and the ``problem``."""
    language = reader_language(request)
    async with tenant(services_of(request).pool, staff.principal) as connection:
        context = await console_context(connection, staff, _notice(request))
        require_in_context(context, "chatbots.read")
        bot = await service.find(connection, chatbot_id)
        if bot.retired_at is not None:
            raise NotFoundError("not_found")
        people = await page_queries.list_colleagues(connection)
        context |= {
            "bot": bot,
            "form": typed or forms.saved(bot),
            "etag": etag_of(bot, ChatbotPatch),
            "operators": await people_queries.list_operators(connection, chatbot_id),
            "supervisor": await people_queries.get_supervisor(connection, chatbot_id),
            "people": people,
            "maker": await page_queries.get_maker(connection, chatbot_id),
            "assignments": await page_queries.list_assignments(connection, chatbot_id),
            "channels": await _channels(request, connection, chatbot_id),
            "problem": problem.detail(language) if problem else None,
            "no_people": people_limit(await list_usage(connection), language),
            "no_telegram": await channel_limit(connection, "telegram", language),
            "days": DAYS,
            "tones": TONES,
            "addresses": ADDRESSES,
            "usual_address": usual_address(bot.personality_traits.get("tone"), bot.timezone),
            "styles": STYLES,
            "triggers": TRIGGERS,
        }
    return render(request, "bots/bot.html", status=problem.status if problem else 200, **context)


async def _channels(request: Request, connection: Connection, chatbot_id: UUID) -> list[Any]:
    rows, _ = await account_queries.list_accounts(
        connection, ListQuery(limit=100), "created_at", {"chatbot_id": chatbot_id}
    )
    return [
        channel_out(services_of(request).settings, row)
        for row in rows
        if row.status != "disconnected"
    ]


@router.post("/{chatbot_id}")
async def save_bot(request: Request, staff: PageStaff, chatbot_id: UUID) -> Response:
    """Save the settings, unless they changed since the page was opened."""
    check_origin(request)
    form = await request.form()
    typed = forms.as_shown(form)
    try:
        patch = forms.read_settings(form)
        async with tenant(services_of(request).pool, staff.principal) as connection:
            current = await service.find(connection, chatbot_id)
            require_in_context(await console_context(connection, staff), "chatbots.edit")
            current = await service.find(connection, chatbot_id, locked=True)
            if form.get("etag") != etag_of(current, ChatbotPatch):
                raise BadInputError("api.changed_meanwhile")
            await service.change(connection, chatbot_id, patch, current)
    except ValidationError as error:
        return await bot_answer(request, staff, chatbot_id, invalid(request, error), typed)
    except (BadInputError, NeurantError) as error:
        if error.status in (403, 404):
            raise
        return await bot_answer(request, staff, chatbot_id, error, typed)
    except psycopg.errors.CheckViolation:
        refused = BadInputError("api.value_refused")
        return await bot_answer(request, staff, chatbot_id, refused, typed)
    return RedirectResponse(f"{PAGE}/{chatbot_id}?notice=saved", 303)


@router.post("/{chatbot_id}/trial")
async def try_bot(request: Request, staff: PageStaff, chatbot_id: UUID) -> Response:
    """Answer one message of the trial chat with the settings in the form, saved or not."""
    check_origin(request)
    context = await trial_context(request, staff, chatbot_id)
    return HTMLResponse(markup(request, "bots/trial.html", **context))


async def trial_context(request: Request, staff: SignedIn, chatbot_id: UUID) -> dict[str, Any]:
    """Return the context of ``bots/trial.html`` for the message and the settings in the form."""
    form = await request.form()
    message = forms.values_of(form).get("message", "")
    context: dict[str, Any] = {"message": message, "preview": None, "problem": None}
    try:
        patch = forms.read_settings(form) if "system_prompt" in form else ChatbotPatch()
        asked = PreviewIn(message=message, earlier=_earlier(form.getlist("earlier")))
        # The settings are validated already, so model_copy() sets them without validation.
        asked = asked.model_copy(update={"settings": patch})
        state = services_of(request)
        async with tenant(state.pool, staff.principal) as connection:
            trial = await service.begin_trial(connection, chatbot_id, asked)
        searched = await read_preview(state.pool, state.get(LanguageModels), staff.principal, trial)
        async with tenant(state.pool, staff.principal) as connection:
            language = reader_language(request)
            preview = await service.answer_trial(connection, trial, searched, language)
        context["preview"], context["number"] = preview, uuid4().hex
        context["explained"] = in_words(preview.explanation, translator(language))
    except ValidationError as error:
        context["problem"] = invalid(request, error).detail(reader_language(request))
    return context


def _earlier(values: Sequence[object]) -> list[PreviewEarlier]:
    """Return the newest messages of the trial chat, which its fragments carry as hidden fields."""
    found = []
    for value in map(str, values[-_MAX_EARLIER:]):
        sender, _, said = value.partition(":")
        if sender in _SENDERS and said.strip():
            found.append(PreviewEarlier(sender=_SENDERS[sender], text=said[:_MAX_EARLIER_LENGTH]))
    return found


@router.post("/{chatbot_id}/retire")
async def retire_bot(request: Request, staff: PageStaff, chatbot_id: UUID) -> Response:
    """Take the bot out of service for good."""
    check_origin(request)
    async with tenant(services_of(request).pool, staff.principal) as connection:
        await service.find(connection, chatbot_id)
        require_in_context(await console_context(connection, staff), "chatbots.retire")
        await queries.retire_chatbot(connection, chatbot_id)
    return RedirectResponse(f"{PAGE}?notice=retired", 303)
