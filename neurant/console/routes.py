"""The console's routers and files together, as the application includes them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse

from neurant.auth.cookies import YEAR, keep_cookie, safe_next
from neurant.auth.current import check_origin
from neurant.console.page_route import PageRoute
from neurant.console.pages.chat import router as chat_router
from neurant.console.pages.chatbot_people import router as bot_people_router
from neurant.console.pages.chatbots import router as bots_router
from neurant.console.pages.companies import router as company_router
from neurant.console.pages.inbox import router as inbox_router
from neurant.console.pages.invitations import router as invitation_router
from neurant.console.pages.settings import router as settings_router
from neurant.console.pages.team import router as team_router
from neurant.console.static_files import mount_static
from neurant.console.templating import LANGUAGE_COOKIE, THEME_COOKIE
from neurant.texts import LANGUAGES

__all__ = ["mount_static", "router"]

router = APIRouter()
preferences = APIRouter(route_class=PageRoute, include_in_schema=False)
Text = Annotated[str, Form()]


@preferences.post("/console/preferences")
async def keep_preferences(
    request: Request, back: Text = "", theme: Text = "", language: Text = ""
) -> RedirectResponse:
    """The theme and the language of this browser, kept in cookies."""
    check_origin(request)
    response = RedirectResponse(safe_next(back), 303)
    if theme == "system":
        response.delete_cookie(THEME_COOKIE, path="/")
    elif theme in ("light", "dark"):
        keep_cookie(request, response, THEME_COOKIE, theme, YEAR)
    if language in LANGUAGES:
        keep_cookie(request, response, LANGUAGE_COOKIE, language, YEAR)
    return response


router.include_router(preferences)
router.include_router(inbox_router)
router.include_router(chat_router)
router.include_router(settings_router)
router.include_router(team_router)
router.include_router(invitation_router)
router.include_router(bots_router)
router.include_router(bot_people_router)
router.include_router(company_router)
