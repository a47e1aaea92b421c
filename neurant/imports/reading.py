"""The body of an import: one JSON document, or one conversation per line (NDJSON).

A body of up to 20 MB is parsed in a separate thread, one conversation at a time, so the event loop
serves other requests meanwhile. Parsing stops at the first invalid conversation.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastapi import Request
from pydantic import ValidationError
from pydantic_core import from_json, to_json

from neurant.api.route import content_type, is_json
from neurant.core.body_bounds import check_members, list_fields
from neurant.core.errors import BadInputError, MalformedError, TooLargeError, UnsupportedTypeError
from neurant.imports.schemas import (
    MAX_CONVERSATIONS,
    MAX_MESSAGES,
    ImportedConversation,
    ImportedMessage,
    ImportIn,
)

JSON = "application/json"
LINES = "application/x-ndjson"
# The largest valid import has 160,000: 10,000 messages of 9 (8 members and the
# object) and 1,000 conversations of 64 (10 members, 50 of the context and the containers).
_MAX_MEMBERS = 200_000
_MAX_KEYS = 50  # of one object; every documented object has fewer
_BLANK = re.compile(rb"\s*+")
# One thread, so that concurrent imports do not multiply the memory.
_reader = ThreadPoolExecutor(1, thread_name_prefix="import-reader")


async def read_import(request: Request) -> list[ImportedConversation]:
    """Return the conversations of the request's body.

    Raises BadInputError (with the position of the first invalid conversation), MalformedError,
    TooLargeError, UnsupportedTypeError.
    """
    kind, body = content_type(request), await request.body()
    if kind != LINES and not is_json(kind):
        raise UnsupportedTypeError("conversations.import_type")
    read = _lines if kind == LINES else _document
    return await asyncio.get_running_loop().run_in_executor(_reader, read, body)


def _document(body: bytes) -> list[ImportedConversation]:
    check_members(body, _MAX_MEMBERS)
    document = _parsed(body)
    if not isinstance(document, dict) or len(document) > 1:
        wrong = set(document) - {"conversations"} if isinstance(document, dict) else {"body"}
        raise BadInputError("invalid_fields", fields=list_fields(sorted(wrong)))
    items = document.get("conversations")
    if not isinstance(items, list) or not items:
        raise BadInputError("invalid_fields", fields="conversations")
    _check_room(len(items), 0)
    found: list[ImportedConversation] = []
    messages = 0
    for place in range(len(items)):
        item, items[place] = items[place], None  # free the raw conversation once it is validated
        try:
            found.append(_validated(item))
        except _WrongConversationError as error:
            names = (f"conversations.{place}.{name}".rstrip(".") for name in error.names)
            raise BadInputError("invalid_fields", fields=list_fields(names)) from None
        messages += len(found[-1].messages)
        _check_room(len(found), messages)
    return found


def _lines(body: bytes) -> list[ImportedConversation]:
    found: list[ImportedConversation] = []
    messages = 0
    for number, line in _numbered(body):
        check_members(line, _MAX_MEMBERS)
        try:
            found.append(_validated(_parsed(line)))
        except MalformedError:
            raise _bad_line(number, "JSON") from None
        except _WrongConversationError as error:
            raise _bad_line(number, list_fields(name or "JSON" for name in error.names)) from None
        messages += len(found[-1].messages)
        _check_room(len(found), messages)
    if not found:
        raise _bad_line(1, "JSON")
    return found


def _numbered(body: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank with their numbers, without holding all in memory."""
    number, end = 1, 0
    while True:
        start = _skip_blank(body, end)
        if start == len(body):
            return
        number += body.count(b"\n", end, start)
        end = body.find(b"\n", start)
        end = len(body) if end < 0 else end
        yield number, body[start:end]


def _skip_blank(body: bytes, start: int) -> int:
    found = _BLANK.match(body, start)
    return found.end() if found else start


def _bad_line(number: int, fields: str) -> BadInputError:
    return BadInputError("conversations.import_bad_line", line=number, fields=fields)


def _parsed(text: bytes) -> Any:
    """Parse JSON. Raises MalformedError."""
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        raise MalformedError("bad_request") from None


class _WrongConversationError(Exception):
    """A conversation that does not match the schema; ``names`` are its wrong fields."""

    def __init__(self, names: Iterator[str]) -> None:
        super().__init__()
        self.names = names


def _validated(item: Any) -> ImportedConversation:
    """Validate one conversation. Raises _WrongConversationError."""
    if isinstance(item, dict):
        _check_keys(item, ImportedConversation.model_fields, "")
        context, messages = item.get("context"), item.get("messages")
        if isinstance(context, dict) and len(context) > _MAX_KEYS:
            raise _WrongConversationError(iter(["context"]))
        for place, one in enumerate(messages if isinstance(messages, list) else ()):
            if isinstance(one, dict):
                _check_keys(one, ImportedMessage.model_fields, f"messages.{place}.")
    try:
        # Validated as JSON, in which ids and times are strings.
        return ImportedConversation.model_validate_json(to_json(item))
    except ValidationError as error:
        told = error.errors(include_url=False, include_context=False, include_input=False)
        raise _WrongConversationError(".".join(map(str, one["loc"])) for one in told) from None


def _check_keys(item: dict[str, Any], known: Container[str], where: str) -> None:
    """Refuse unknown keys early: pydantic would build an error with the whole input for each."""
    if len(item) > _MAX_KEYS:
        unknown = (f"{where}{name}" for name in item if name not in known)
        raise _WrongConversationError(unknown)


def _check_room(conversations: int, messages: int) -> None:
    if conversations > MAX_CONVERSATIONS or messages > MAX_MESSAGES:
        raise TooLargeError(
            "conversations.import_too_many",
            conversations=MAX_CONVERSATIONS,
            messages=MAX_MESSAGES,
        )


def described_body() -> dict[str, Any]:
    """Return the OpenAPI description of both forms of the body."""
    return {
        "required": True,
        "content": {
            JSON: {"schema": _inlined(ImportIn.model_json_schema())},
            LINES: {
                "schema": {
                    "type": "string",
                    "description": "One conversation per line, as in the JSON document",
                }
            },
        },
    }


def _inlined(schema: Any, known: dict[str, Any] | None = None) -> Any:
    """Return the schema without references, which would point into pydantic's own document."""
    if isinstance(schema, list):
        return [_inlined(one, known) for one in schema]
    if not isinstance(schema, dict):
        return schema
    known = known if known is not None else schema.get("$defs", {})
    if "$ref" in schema:
        return _inlined(known[schema["$ref"].rpartition("/")[2]], known)
    return {name: _inlined(one, known) for name, one in schema.items() if name != "$defs"}
