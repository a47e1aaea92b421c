"""Render pages with one Jinja2 environment, in the reader's language and theme."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Literal, cast

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from neurant.console.navigation import navigation
from neurant.console.static_files import static_url
from neurant.console.tag_lines import TagLines
from neurant.core import formats
from neurant.core.errors import NeurantError
from neurant.core.language import reader_language
from neurant.texts import Language, text

THEME_COOKIE = "neurant_theme"
Theme = Literal["light", "dark"]


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Return the environment of ``templates/``; it escapes, and fails on a missing variable."""
    env = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[TagLines],
    )
    env.globals["static_url"] = static_url
    env.globals["navigation"] = navigation
    env.filters["initials"] = formats.initials
    env.filters["fours"] = formats.fours
    env.filters["avatar"] = formats.avatar
    env.filters["paragraphs"] = formats.paragraphs
    return env


def reader_theme(request: Request) -> Theme | None:
    """Return the theme that the reader chose; None follows the system."""
    chosen = request.cookies.get(THEME_COOKIE)
    return cast(Theme, chosen) if chosen in ("light", "dark") else None


def translator(language: Language) -> Callable[..., str]:
    """Return ``t(name, **params)``, which gives templates the texts of one language."""
    return partial(_translate, language)


def _translate(language: Language, name: str, /, **params: object) -> str:
    return text(name, language, **params)


def markup(request: Request, template: str, **context: object) -> str:
    """Render ``template`` to text, with the reader's language, theme and formats in its context."""
    language = reader_language(request)
    return (
        environment()
        .get_template(template)
        .render(
            request=request,
            language=language,
            theme=reader_theme(request),
            t=translator(language),
            fmt=formats.Formats(language, context.get("timezone")),
            **context,
        )
    )


def render(
    request: Request,
    template: str,
    *,
    status: int = 200,
    error: NeurantError | None = None,
    **context: object,
) -> HTMLResponse:
    """Render ``template`` as a page.

    No page may contain inline script or style, because the content security policy forbids them.
    ``error``: the error that the page shows; it sets the status and ``Retry-After``.
    """
    page = markup(request, template, **context)
    headers = {"Vary": "Accept-Language, Cookie"} | when_again(error)
    return HTMLResponse(page, error.status if error else status, headers)


def when_again(error: NeurantError | None) -> dict[str, str]:
    """Return ``Retry-After`` in seconds for an error that has it (RFC 9110, 10.2.3)."""
    seconds = error.params.get("seconds") if error else None
    return {} if seconds is None else {"retry-after": str(seconds)}
