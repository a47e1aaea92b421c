"""The OpenAPI 3.1 document: one error shape, and for each operation who may call it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

from neurant.api.callers import callers_of

if TYPE_CHECKING:
    from fastapi.routing import APIRoute

_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
JSON = "application/json"
FORM = "multipart/form-data"
_TOLD = {
    400: "The request cannot be read (`bad_request`), or `X-Company-Id` is not a UUID"
    " (`tokens.bad_company`)",
    401: "The credential is missing (`accounts.session_missing`), has expired"
    " (`accounts.session_expired`, `tokens.expired`) or is not valid (`tokens.bad_key`,"
    " `tokens.invalid`, `tokens.nobody`, `tokens.no_key_here`)",
    403: "The caller is known but may not do this (`api.not_permitted`), the company's subscription"
    " allows no changes (`api.read_only`), or another site sent the request"
    " (`accounts.cross_origin`)",
    404: "The resource does not exist or the caller may not see it (`not_found`), or the cursor is"
    " not of this list (`api.cursor_unknown`)",
    409: "The request conflicts with the current state (`api.taken`, `api.unknown_reference`,"
    " `api.in_use`), with a concurrent request (`api.busy`, `api.idempotency_in_flight`), or the"
    " caller must choose a company (`tokens.choose_company`)",
    412: "The resource has changed since it was read (`api.changed_meanwhile`), or `If-Match` holds"
    " no entity tag (`api.no_entity_tag`)",
    413: "The body is larger than the documented limit (`body_too_large`)",
    415: "The Content-Type of the body is missing or not the documented one (`api.not_json`,"
    " `api.content_type_refused`)",
    422: "A value is not acceptable (`invalid_fields`, `api.value_refused`, `api.value_too_long`,"
    " `api.text_not_storable`)",
    429: "Too many requests (`api.rate_limited`): `Retry-After` says when to try again",
    503: "The database or another server does not answer (`database_away`, `busy`)",
}
_ANY_OTHER = "Any other error; `code` names it, such as `internal`"
# ``409 ``chatbots.name_taken`` `` in a description: a status with the codes that belong to it.
_REFUSAL = re.compile(r"\b([45]\d\d)\s+((?:`+[a-z_.]+`+(?:,\s+|\s+or\s+)?)+)")
_CODE = re.compile(r"`+([a-z_.]+)`+")
_SENTENCE = re.compile(r"(.+?)[.](?:\s+|$)(.*)", re.DOTALL)
_REFUSES = "Refuses:"
_PATH_PARAMETERS = {
    "account_id": "UUID of the connected channel, as GET /v1/channels lists it",
    "chatbot_id": "UUID of the bot, as GET /v1/chatbots lists it",
    "connection_id": "UUID of the single sign-on connection",
    "domain": "Mail domain that the connection claims, such as example.com",
    "endpoint_id": "UUID of the webhook endpoint",
    "key_id": "UUID of the API key, not the key itself",
    "response_id": "UUID of the canned response",
    "routing_id": "Public identifier of the web chat, as the link to the chat contains it",
    "session_id": "UUID of the session",
    "template_id": "UUID of the bot template",
    "user_id": "UUID of the person, as GET /v1/users lists it",
}


class Problem(BaseModel):
    """An error (RFC 9457). Its ``detail`` is in the language of Accept-Language."""

    type: str = Field(
        examples=["urn:neurant:error:not_found"],
        description="URN of the error: urn:neurant:error: followed by the code",
    )
    title: str = Field(description="Standard English phrase of the HTTP status")
    status: int = Field(description="HTTP status code of the response")
    detail: str = Field(description="What happened and what to do, in words for a person")
    code: str = Field(description="Stable code of the error, for a program")
    request_id: str = Field(
        description="Identifier of the request in the logs of the host and in the audit"
    )


@dataclass(frozen=True, slots=True)
class Shape:
    """The properties of a route that decide its headers and its refusals."""

    signed_in: bool
    of_company: bool  # in one transaction of a company: counted, and served once
    takes: str | None  # the Content-Type; "*": several


def _text(description: str, **schema: Any) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string", **schema}}


_RATES = {
    "RateLimit-Policy": _text("Requests per minute that the plan allows the company"),
    "RateLimit": _text("Requests left in this window, and seconds until the window is full again"),
}
_ETAG = {"ETag": _text("Entity tag of the representation; send it back as If-Match")}
_REPLAYED = {
    "Idempotency-Replayed": _text(
        "The answer is the stored answer to an earlier request", const="true"
    )
}
_OF_REFUSALS: dict[int, dict[str, Any]] = {
    401: {
        "WWW-Authenticate": _text(
            "Authentication scheme that the operation accepts", const="Bearer"
        )
    },
    429: {
        "Retry-After": {
            "description": "Seconds to wait before the next request",
            "schema": {"type": "integer", "minimum": 1},
        }
    },
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    **_text(
        "A new value for each intent; a request repeated with its key within 24 hours has no"
        " second effect and gets the first answer",
        format="idempotency-key",
        pattern=r"^[\x21-\x7e]{1,255}$",
    ),
}
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    **_text(
        "The ETag that was read; if the resource has changed since, the answer is 412",
        format="if-match",
    ),
}


def _writes(route: APIRoute) -> bool:
    return bool((route.methods or set()) - {"GET", "HEAD"})


def described_headers(route: APIRoute, shape: Shape) -> dict[str, Any]:
    """Return the header parameters that routes share; every PATCH honours If-Match."""
    told = [_KEY] if shape.of_company and _writes(route) else []
    told += [_IF_MATCH] if "PATCH" in (route.methods or set()) else []
    return {"parameters": told} if told else {}


def described_answers(route: APIRoute, shape: Shape) -> dict[int | str, dict[str, Any]]:
    """Return the documented refusals of a route, and the headers of all of its answers."""
    rates = _RATES if shape.of_company else {}
    told: dict[int | str, dict[str, Any]] = {
        code: {
            "description": _TOLD[code],
            "content": _PROBLEM,
            "headers": (rates if code == 429 else {}) | _OF_REFUSALS.get(code, {}),
        }
        for code in sorted(_refusals(route, shape))
    }
    once = _REPLAYED if shape.of_company and _writes(route) else {}
    told[route.status_code or 200] = {"headers": rates | once}
    told["default"] = {"description": _ANY_OTHER, "content": _PROBLEM}
    return told


def _refusals(route: APIRoute, shape: Shape) -> set[int]:
    writes = _writes(route)
    codes = {422, 429, 503}
    if shape.signed_in:
        codes |= {401, 403}
    if shape.takes or shape.of_company:
        codes.add(400)  # a call may carry an X-Company-Id that is not a UUID
    if shape.takes:
        codes.add(415)
    if "{" in route.path or "GET" in (route.methods or set()):
        codes.add(404)  # the cursor of a list may be unknown
    if writes:
        codes |= {404, 409, 413}
    if "PATCH" in (route.methods or set()):
        codes.add(412)
    return codes


def _tell_refusals(document: dict[str, Any]) -> None:
    """Give every documented error the one shape, also outside ``/v1``."""
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        if name.startswith("Body_"):  # FastAPI's name for a form, whose unknown parts are refused
            schema["additionalProperties"] = False
    for path in document.get("paths", {}).values():
        for operation in path.values():
            answers = operation.setdefault("responses", {})
            if "422" in answers:
                answers["422"] = answers["422"] | {"description": _TOLD[422], "content": _PROBLEM}
            answers.setdefault("default", {"description": _ANY_OTHER, "content": _PROBLEM})


def _tell_tags(document: dict[str, Any]) -> None:
    """Document the ETag of every resource that PATCH can change."""
    for path in document["paths"].values():
        if "patch" in path:
            for method in ("get", "patch"):
                told = path[method]["responses"]["200"]
                told["headers"] = told.get("headers", {}) | _ETAG


def _describe_operations(document: dict[str, Any]) -> None:
    """Split each docstring into summary and description, and add callers and refusals."""
    for place, path in document.get("paths", {}).items():
        for operation in path.values():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "path":
                    parameter["description"] = _path_parameter(parameter["name"])
            told = " ".join(operation.get("description", "").split("\n\n", 1)[0].split())
            rest = operation.get("description", "").partition("\n\n")[2]
            if found := _SENTENCE.fullmatch(told):
                told, more = found.groups()
                rest = "\n\n".join(filter(None, (more, rest)))
            operation["summary"] = told
            operation["description"] = _markdown("\n\n".join(_paragraphs(place, operation, rest)))
            _name_codes(operation)
            _describe_answers(operation, document["components"]["schemas"])


def _describe_schemas(schemas: dict[str, Any]) -> None:
    """Describe the schemas that FastAPI makes, and write all descriptions as Markdown."""
    for name, schema in schemas.items():
        if name.startswith("Page_"):
            schema["description"] = "One page of a list"
        elif name.startswith("Body_"):
            schema["description"] = "The parts of the multipart form"
        schema["description"] = _markdown(schema.get("description", ""))


def _describe_answers(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Describe each success by the first sentence of its schema."""
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
            name = schema.get("$ref", "").rpartition("/")[2]
            text = schemas.get(name, {}).get("description", "").split("\n\n")[0]
            done = "Done; the answer has no content" if status == "204" else "The request succeeded"
            answer["description"] = " ".join(text.split()) or done


def _markdown(text: str) -> str:
    """Return a docstring as Markdown, which marks code with single backticks."""
    return text.replace("``", "`")


def _paragraphs(place: str, operation: dict[str, Any], rest: str) -> Iterator[str]:
    own = [one for one in rest.split("\n\n") if one.strip()]
    yield from (one for one in own if not one.startswith(_REFUSES))
    if "Who may call it:" not in rest:
        yield f"Who may call it: {callers_of(place, operation)}."
    refused = [one.removeprefix(_REFUSES).strip() for one in own if one.startswith(_REFUSES)]
    yield f"{_REFUSES} " + " ".join((*refused, *_common_refusals(operation)))


def _common_refusals(operation: dict[str, Any]) -> Iterator[str]:
    """Yield what the parameters of an operation imply; the responses list the rest."""
    parameters = {(one["in"], one["name"]) for one in operation.get("parameters", [])}
    if any(place == "path" and name.endswith("_id") for place, name in parameters):
        code = "unknown_chat" if ("path", "routing_id") in parameters else "not_found"
        yield f"404 `{code}` if an id of the path is unknown or not visible to the caller."
    if ("query", "cursor") in parameters:
        yield "404 `api.cursor_unknown` if the cursor belongs to another list."
    if ("header", "If-Match") in parameters:
        yield "412 `api.changed_meanwhile` if the resource no longer has the ETag of If-Match."
    yield "The responses list the errors that every operation shares."


def _path_parameter(name: str) -> str:
    noun = name.removesuffix("_id").replace("_", " ")
    return _PATH_PARAMETERS.get(name, f"UUID of the {noun}")


def _name_codes(operation: dict[str, Any]) -> None:
    """Name the codes of the description in the response that they belong to."""
    for status, named in _REFUSAL.findall(operation["description"]):
        answers = operation["responses"]
        answer = answers.get(status) or {"description": HTTPStatus(int(status)).phrase}
        codes = [one for one in _CODE.findall(named) if f"`{one}`" not in answer["description"]]
        more = "; also " if "`" in answer["description"] else ": "
        also = more + ", ".join(f"`{one}`" for one in codes) if codes else ""
        answers[status] = {"content": _PROBLEM} | answer
        answers[status]["description"] = answer["description"] + also


def _drop_untrue(schemas: dict[str, Any]) -> None:
    """Remove the defaults of PATCH bodies, in which a field left out keeps its value.

    Also remove every ``not`` next to a ``format`` of ours, which already includes it.
    """
    for schema in schemas.values():
        for field in schema.get("properties", {}).values():
            if field.get("default") == "" or schema.get("title", "").endswith("Patch"):
                field.pop("default", None)
            if "format" in field:
                field.pop("not", None)


def describe(app: FastAPI) -> None:
    """Let ``app`` serve this document; it is computed at the first request and then kept."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            components = document.setdefault("components", {})
            schemas = components.setdefault("schemas", {})
            _tell_refusals(document)
            _describe_schemas(schemas)
            _describe_operations(document)
            _tell_tags(document)
            _drop_untrue(schemas)
            schemas["Problem"] = Problem.model_json_schema()
            schemas.pop("HTTPValidationError", None)
            schemas.pop("ValidationError", None)
            components["securitySchemes"] = {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The token of a session (POST /v1/session) or an API key",
                }
            }
            document["security"] = [{"bearer": []}]
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
