"""The body of an import: one JSON document, or a conversation a line (NDJSON)."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import from_json

from neurant.api.route import content_type, is_json
from neurant.errors import BadInputError, TooLargeError, UnsupportedTypeError
from neurant.imports.schemas import (
    MOST_CONVERSATIONS,
    MOST_MESSAGES,
    ImportedConversation,
    ImportIn,
)

JSON = "application/json"
LINES = "application/x-ndjson"


async def read_import(request: Request) -> list[ImportedConversation]:
    """What the request carries.

    Raises RequestValidationError, BadInputError (a line), TooLargeError, UnsupportedTypeError.
    """
    kind, body = content_type(request), await request.body()
    if kind == LINES:
        return _lines(body)
    if not is_json(kind):
        raise UnsupportedTypeError("conversations.import_type")
    try:
        found = ImportIn.model_validate_json(body).conversations
    except ValidationError as error:
        raise _refused(error, body) from None
    _check_room(len(found), sum(len(one.messages) for one in found))
    return found


def _refused(error: ValidationError, body: bytes) -> RequestValidationError:
    told = error.errors(include_url=False, include_context=False)
    is_json = all(one["type"] != "json_invalid" for one in told)
    return RequestValidationError(
        [{**one, "loc": ("body", *one["loc"])} for one in told],
        body=from_json(body) if is_json else None,  # to name what is wrong in it
    )


def _lines(body: bytes) -> list[ImportedConversation]:
    found: list[ImportedConversation] = []
    messages = 0
    for number, line in enumerate(body.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            found.append(ImportedConversation.model_validate_json(line))
        except ValidationError as error:
            fields = sorted({".".join(map(str, one["loc"])) or "JSON" for one in error.errors()})
            raise BadInputError(
                "conversations.import_bad_line", line=number, fields=", ".join(fields)
            ) from None
        messages += len(found[-1].messages)
        _check_room(len(found), messages)
    if not found:
        raise BadInputError("conversations.import_bad_line", line=1, fields="JSON")
    return found


def _check_room(conversations: int, messages: int) -> None:
    if conversations > MOST_CONVERSATIONS or messages > MOST_MESSAGES:
        raise TooLargeError(
            "conversations.import_too_many",
            conversations=MOST_CONVERSATIONS,
            messages=MOST_MESSAGES,
        )


def described_body() -> dict[str, Any]:
    """Both forms of the body, for the OpenAPI document."""
    return {
        "required": True,
        "content": {
            JSON: {"schema": _inlined(ImportIn.model_json_schema())},
            LINES: {
                "schema": {
                    "type": "string",
                    "description": "A conversation a line, each as those of the JSON document",
                }
            },
        },
    }


def _inlined(schema: Any, known: dict[str, Any] | None = None) -> Any:
    """The schema without references: those of pydantic are to its own document."""
    if isinstance(schema, list):
        return [_inlined(one, known) for one in schema]
    if not isinstance(schema, dict):
        return schema
    known = known if known is not None else schema.get("$defs", {})
    if "$ref" in schema:
        return _inlined(known[schema["$ref"].rpartition("/")[2]], known)
    return {name: _inlined(one, known) for name, one in schema.items() if name != "$defs"}
