"""The OpenAPI 3.1 document: one error shape, who may call what, and how to prove oneself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from pydantic import BaseModel, Field

if TYPE_CHECKING:
    from fastapi.routing import APIRoute

_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_TOLD = {
    401: "Nobody, or a proof that is wrong or expired",
    403: "Somebody known, who may not do this (x-permission tells what it takes)",
    404: "No such thing, or not one that the caller may know of",
    409: "Somebody else was first, or the plan leaves no room",
    412: "It changed since it was read (If-Match)",
    413: "The body is larger than the documented limit",
    422: "Understood, but a value is not acceptable",
    429: "Too many requests: Retry-After tells when to come back",
}


class Problem(BaseModel):
    """An error (RFC 9457), told in the language of Accept-Language."""

    type: str = Field(examples=["urn:neurant:error:not_found"])
    title: str
    status: int
    detail: str = Field(description="What happened and what to do, for a person")
    code: str = Field(description="Stable: for a program")
    request_id: str = Field(description="By which we find it in our logs and in audit")


def refusals(route: APIRoute, *, signed_in: bool) -> dict[int | str, dict[str, Any]]:
    """The documented refusals of a route."""
    writes = bool((route.methods or set()) - {"GET", "HEAD"})
    codes = {422, 429}
    if signed_in:
        codes |= {401, 403}
    if "{" in route.path or "GET" in (route.methods or set()):
        codes.add(404)  # a cursor, too, may be unknown
    if writes:
        codes |= {404, 409, 412, 413}
    told: dict[int | str, dict[str, Any]] = {
        code: {"description": _TOLD[code], "content": _PROBLEM} for code in sorted(codes)
    }
    told["default"] = {"description": "Any other error", "content": _PROBLEM}
    return told


def _tell_refusals(document: dict[str, Any]) -> None:
    """Also of what is not under ``/v1``: every error has the one shape."""
    for path in document.get("paths", {}).values():
        for operation in path.values():
            answers = operation.setdefault("responses", {})
            if "422" in answers:
                answers["422"] = {"description": _TOLD[422], "content": _PROBLEM}
            answers.setdefault("default", {"description": "Any other error", "content": _PROBLEM})


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
