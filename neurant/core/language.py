"""The language of the reader of a page or an answer."""

from __future__ import annotations

from fastapi import Request

from neurant.texts import LANGUAGES, Language, preferred_language

LANGUAGE_COOKIE = "neurant_language"


def reader_language(request: Request) -> Language:
    """Return the language of ``?lang=`` or of the cookie, else the browser's preferred one."""
    for chosen in (request.query_params.get("lang"), request.cookies.get(LANGUAGE_COOKIE)):
        if chosen in LANGUAGES:
            return chosen
    return preferred_language(request.headers.get("accept-language"))
