"""The OpenAPI 3.1 document: one error shape, who may call what, and how to prove oneself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from fastapi.routing import APIRoute

_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
JSON = "application/json"
FORM = "multipart/form-data"
_TOLD = {
    400: "The request cannot be read at all",
    401: "Nobody, or a proof that is wrong or expired",
    403: "Somebody known, who may not do this (x-permission tells what it takes)",
    404: "No such thing, or not one that the caller may know of",
    409: "Somebody else was first, or the plan leaves no room",
    412: "It changed since it was read (If-Match)",
    413: "The body is larger than the documented limit",
    415: "The body's Content-Type is missing or not the documented one",
    422: "Understood, but a value is not acceptable",
    429: "Too many requests: Retry-After tells when to come back",
    503: "The database, or a server that is asked, is away: try again",
}


class Problem(BaseModel):
    """An error (RFC 9457), told in the language of Accept-Language."""

    type: str = Field(examples=["urn:neurant:error:not_found"])
    title: str
    status: int
    detail: str = Field(description="What happened and what to do, for a person")
    code: str = Field(description="Stable: for a program")
    request_id: str = Field(description="By which we find it in our logs and in audit")


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides which headers and refusals an operation has."""

    signed_in: bool
    of_company: bool  # in one transaction of a company: counted, and served once
    takes: str | None  # the Content-Type; "*": several


def _text(description: str, **schema: Any) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string", **schema}}


_RATES = {
    "RateLimit-Policy": _text("What the plan gives the company for each minute"),
    "RateLimit": _text("How much of it is left, and seconds until all of it is back"),
}
_ETAG = {"ETag": _text("What was read; send it back as If-Match")}
_REPLAYED = {
    "Idempotency-Replayed": _text("This is the answer to an earlier request", const="true")
}
_OF_REFUSALS: dict[int, dict[str, Any]] = {
    401: {"WWW-Authenticate": _text("How to prove oneself", const="Bearer")},
    429: {
        "Retry-After": {
            "description": "Seconds to wait",
            "schema": {"type": "integer", "minimum": 1},
        }
    },
}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    **_text(
        "A new one for each intent: sent again within a day, the request has no second effect",
        format="idempotency-key",
        pattern=r"^[\x21-\x7e]{1,255}$",
    ),
}
_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    **_text("The ETag that was read: a change that somebody made since is 412", format="if-match"),
}


def _writes(route: APIRoute) -> bool:
    return bool((route.methods or set()) - {"GET", "HEAD"})


def described_headers(route: APIRoute, shape: Shape) -> dict[str, Any]:
    """The header parameters that calls have besides their own; every PATCH honours If-Match."""
    told = [_KEY] if shape.of_company and _writes(route) else []
    told += [_IF_MATCH] if "PATCH" in (route.methods or set()) else []
    return {"parameters": told} if told else {}


def described_answers(route: APIRoute, shape: Shape) -> dict[int | str, dict[str, Any]]:
    """The documented refusals of a route, and the headers of all of its answers."""
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
    told["default"] = {"description": "Any other error", "content": _PROBLEM}
    return told


def _refusals(route: APIRoute, shape: Shape) -> set[int]:
    writes = _writes(route)
    codes = {422, 429, 503}
    if shape.signed_in:
        codes |= {401, 403}
    if shape.takes or shape.of_company:
        codes.add(400)  # of a call: X-Company-Id
    if shape.takes:
        codes.add(415)
    if "{" in route.path or "GET" in (route.methods or set()):
        codes.add(404)  # a cursor, too, may be unknown
    if writes:
        codes |= {404, 409, 413}
    if "PATCH" in (route.methods or set()):
        codes.add(412)
    return codes


def _tell_refusals(document: dict[str, Any]) -> None:
    """Also of what is not under ``/v1``: every error has the one shape."""
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        if name.startswith("Body_"):  # FastAPI's name of a form; a part that is unknown is refused
            schema["additionalProperties"] = False
    for path in document.get("paths", {}).values():
        for operation in path.values():
            answers = operation.setdefault("responses", {})
            if "422" in answers:
                answers["422"] = answers["422"] | {"description": _TOLD[422], "content": _PROBLEM}
            answers.setdefault("default", {"description": "Any other error", "content": _PROBLEM})


def _tell_tags(document: dict[str, Any]) -> None:
    """What can be edited is told with its ETag, read or changed."""
    for path in document["paths"].values():
        if "patch" in path:
            for method in ("get", "patch"):
                told = path[method]["responses"]["200"]
                told["headers"] = told.get("headers", {}) | _ETAG


def _drop_untrue(schemas: dict[str, Any]) -> None:
    """Defaults of sparse bodies, where what is left out stays; what a format says better."""
    for schema in schemas.values():
        for field in schema.get("properties", {}).values():
            if field.get("default") == "" or schema.get("title", "").endswith("Patch"):
                field.pop("default", None)
            if "format" in field:
                field.pop("not", None)  # a format of ours tells all of it


def describe(app: FastAPI) -> None:
    """Make ``app`` describe itself so; computed once, at the first request for it."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            components = document.setdefault("components", {})
            schemas = components.setdefault("schemas", {})
            _tell_refusals(document)
            _tell_tags(document)
            _drop_untrue(schemas)
            schemas["Problem"] = Problem.model_json_schema()
            schemas.pop("HTTPValidationError", None)
            schemas.pop("ValidationError", None)
            components["securitySchemes"] = {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A session's token (POST /v1/session) or an API key",
                }
            }
            document["security"] = [{"bearer": []}]
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
