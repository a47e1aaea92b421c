"""The visitor's chat page, and the script that embeds it in another site."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from neurant.channels.webchat.visitors import is_routing_id
from neurant.console.page_route import PageRoute
from neurant.console.problem_page import problem_page
from neurant.console.refusals import Refusal
from neurant.console.static_files import ROOT
from neurant.console.templating import render, translator
from neurant.core.db.pool import fetch_one
from neurant.core.errors import NotFoundError
from neurant.core.language import reader_language
from neurant.core.services import services_of
from neurant.texts import LANGUAGES, Language, in_tone, text
from neurant.texts.address import manner

router = APIRouter(route_class=PageRoute)

_WEB_CHAT = """
select company_name, chatbot_name, description, language, persona, tone, address, style,
  timezone, avatar_url, has_people
from private.web_chat(%s)
"""
_WIDGET_TEXTS = ("dialog", "open", "close", "unread")
_TEXTS_PLACE = "const TEXTS = {};"
_HOUR = 3600


@dataclass(frozen=True, slots=True)
class WebChat:
    """The public data of a web chat."""

    company_name: str
    chatbot_name: str
    description: str | None
    language: str | None
    persona: str | None
    tone: str | None
    address: str | None
    style: str | None
    timezone: str | None
    avatar_url: str | None
    has_people: bool

    @property
    def bot(self) -> str:
        """Return the name by which the bot introduces itself."""
        return self.persona or self.chatbot_name


@router.get("/chat/{routing_id}", response_class=HTMLResponse, include_in_schema=False)
async def chat_page(request: Request, routing_id: str) -> Response:
    """Show the chat page of a web channel; 404 for an unknown or closed channel."""
    chat = None
    if is_routing_id(routing_id):
        async with services_of(request).pool.connection() as connection:
            chat = await fetch_one(connection, WebChat, _WEB_CHAT, (routing_id,))
    if chat is None:
        t = translator(reader_language(request))
        here = request.url.path
        gone = Refusal(t("chat.not_found"), t("chat.not_found_hint"), here, "again")
        return problem_page(request, NotFoundError("unknown_chat"), gone)
    return render(
        request,
        "chat/chat.html",
        routing_id=routing_id,
        embedded="embed" in request.query_params,
        company_name=chat.company_name,
        bot_name=chat.bot,
        avatar_url=chat.avatar_url,
        has_people=chat.has_people,
        welcome=in_tone(
            "chat.welcome",
            manner(chat.tone, chat.address, chat.style, chat.timezone),
            reader_language(request),
            bot=chat.bot,
            company=chat.company_name,
        ),
        texts=_script_texts(reader_language(request), chat.bot),
    )


def _script_texts(language: Language, bot: str) -> dict[str, object]:
    """Return the texts of the page's script, which fills in the names in braces."""
    modes = {
        mode: text(f"chat.mode.{mode}", language, bot=bot, name="{name}")
        for mode in ("bot", "queued", "human", "closed")
    }
    names = ("somebody", "according_to", "and_more", "page")
    return {"modes": modes} | {name: text(f"chat.{name}", language) for name in names}


@lru_cache(maxsize=1)
def _widget_script() -> str:
    texts = {
        language: {name: text(f"chat.widget.{name}", language) for name in _WIDGET_TEXTS}
        for language in LANGUAGES
    }
    script = (ROOT / "js" / "widget.js").read_text("utf-8")
    return script.replace(_TEXTS_PLACE, f"const TEXTS = {orjson.dumps(texts).decode()};")


@router.get("/widget.js", include_in_schema=False)
async def widget_script() -> Response:
    """Return the script that other sites load. Its address is fixed, so caches keep it an hour."""
    headers = {
        "Cache-Control": f"public, max-age={_HOUR}",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
    return Response(_widget_script(), media_type="text/javascript", headers=headers)
