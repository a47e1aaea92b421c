"""The router of all console pages, and the static files, for the application to include."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse

from neurant.auth.cookies import YEAR, keep_cookie, safe_next
from neurant.auth.current import check_origin
from neurant.console.page_route import PageRoute
from neurant.console.pages import (
    api_keys,
    audit,
    chat,
    chatbot_people,
    chatbots,
    companies,
    exports,
    inbox,
    invitations,
    knowledge,
    language_model,
    login,
    notifications,
    onboarding,
    permissions,
    plans,
    recovery,
    security,
    settings,
    signup,
    sso_login,
    sso_settings,
    team,
)
from neurant.console.static_files import mount_static
from neurant.console.templating import THEME_COOKIE
from neurant.core.language import LANGUAGE_COOKIE
from neurant.texts import LANGUAGES

__all__ = ["mount_static", "router"]

router = APIRouter()
preferences = APIRouter(route_class=PageRoute, include_in_schema=False)
Text = Annotated[str, Form()]


@preferences.post("/console/preferences")
async def keep_preferences(
    request: Request, back: Text = "", theme: Text = "", language: Text = ""
) -> RedirectResponse:
    """Store the theme and the language of this browser in cookies, then go back to the page."""
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
# The framework tries the routers in this order, so the most requested pages come first.
for page in (
    inbox,
    chat,
    chatbots,
    chatbot_people,
    knowledge,
    notifications,
    team,
    invitations,
    settings,
    plans,
    companies,
    onboarding,
    permissions,
    exports,
    audit,
    api_keys,
    language_model,
    sso_settings,
    security,
    login,
    signup,
    recovery,
    sso_login,
):
    router.include_router(page.router)
