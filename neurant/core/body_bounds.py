"""Limits on the structure of a request: the work that a small body or query may cause.

A body of a few hundred kilobytes may have a hundred thousand members. Parsing and validating them
takes seconds, in which the event loop serves no other request (OWASP API Security Top 10 2023,
API4: unrestricted resource consumption). The structure is therefore counted in the raw bytes, and
the count stops at the limit. Decision: 0019.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from starlette.requests import Request

from neurant.core.errors import BadInputError

ANYBODY_BYTES = 64 * 1024  # a body that is read before authentication
FORM_BYTES = 256 * 1024  # a form of the console: the largest text, percent-encoded
MAX_MEMBERS = 2_000  # the largest useful body of the API has a few hundred
MAX_FIELDS = 1_000  # of a form, the default of Starlette's parser of multipart/form-data
MAX_PARAMETERS = 200  # of a query string
_MAX_REPORTED = 20
_NAME_LENGTH = 60
_URLENCODED = "application/x-www-form-urlencoded"
# A string is one token. Its closing quote is optional, so that every byte is read only once, also
# in an unterminated string.
_TOKEN = re.compile(rb'"[^"]*+"?|[,\]}]')


def limit_body(request: Request, most: int) -> None:
    """Lower the limit of the request's body to ``most`` bytes. Raises TooLargeError."""
    request.state.lower_body_limit(most)


def check_members(body: bytes, most: int = MAX_MEMBERS) -> None:
    """Refuse a JSON text with more than ``most`` members, elements and containers.

    The text need not be valid JSON. Raises BadInputError.
    """
    marks = sum(body.count(mark) for mark in (b",", b"]", b"}"))
    if marks <= most:
        return  # the usual case, in which the strings need no parsing
    # In UTF-16 and UTF-32 a byte of another character can look like a quote.
    if json.detect_encoding(body) == "utf-8":
        marks = 0
        # Without escaped quotes every quote begins or ends a string.
        plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
        for token in _TOKEN.finditer(plain):
            marks += plain[token.start()] != 0x22  # '"'
            if marks > most:
                break
    if marks > most:
        raise BadInputError("too_many_members", most=most)


def check_query_size(request: Request) -> None:
    """Refuse a query of more than ``MAX_PARAMETERS`` parameters. Raises BadInputError."""
    if request.scope["query_string"].count(b"&") >= MAX_PARAMETERS:
        raise BadInputError("too_many_fields", most=MAX_PARAMETERS)


async def check_form_size(request: Request) -> None:
    """Refuse a URL-encoded form that is too large. Raises BadInputError, TooLargeError.

    Starlette's parser bounds the fields of multipart/form-data only.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _URLENCODED:
        return
    limit_body(request, FORM_BYTES)
    body = await request.body()
    if body.count(b"&") + body.count(b";") >= MAX_FIELDS:
        raise BadInputError("too_many_fields", most=MAX_FIELDS)


def list_fields(names: Iterable[str]) -> str:
    """Return the first 20 distinct names, sorted; long names are truncated."""
    told: set[str] = set()
    for name in names:
        told.add(name if len(name) <= _NAME_LENGTH else f"{name[:_NAME_LENGTH]}…")
        if len(told) == _MAX_REPORTED:
            break
    return ", ".join(sorted(told))
