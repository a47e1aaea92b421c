"""The class of every route under ``/v1``: idempotent answers, rates told, documented refusals."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, cast, get_type_hints
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi._compat import ModelField, field_annotation_is_sequence
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Body, ParamTypes
from fastapi.routing import APIRoute, _effective_route_context_var
from pydantic import TypeAdapter

from neurant.accounts.current import api_person
from neurant.api import idempotency, rates
from neurant.api.call import Needs, permission_of
from neurant.api.openapi import refusals
from neurant.errors import BadInputError, UnsupportedTypeError

_EXACT = 2**53  # beyond it a float is no longer every integer


class ApiRoute(APIRoute):
    """A route whose handler runs in one call (``neurant.api.call``)."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(_with_ids(path, endpoint), endpoint, **options)
        need = next(_needs(self.dependant), None)
        of_person = any(one.call is api_person for one in self.dependant.dependencies)
        signed_in = need is not None or of_person
        self.responses = refusals(self, signed_in=signed_in) | self.responses
        self.openapi_extra = (self.openapi_extra or {}) | _described(need, signed_in=signed_in)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of FastAPI, between claiming an Idempotency-Key and keeping its answer."""
        # An included router's routes are made anew, of their own fields.
        made: Any = _effective_route_context_var.get() or self
        for body in made.dependant.body_params:
            _be_strict(body)
        handle = super().get_route_handler()
        known = _query_names(self.dependant)

        async def handle_call(request: Request) -> Response:
            _check_query(request, known)
            if idempotency.carries_key(request):
                await request.body()  # kept by the request: it is digested before it is parsed
            try:
                response = await handle(request)
                await idempotency.end(request, response)
            except idempotency.AnsweredBeforeError as before:
                response = before.response
            rates.tell(request, response)
            return response

        return handle_call


def _with_ids(path: str, endpoint: Callable[..., Any]) -> str:
    """``path`` with ``{…:uuid}`` where the handler takes one: what is no id is another address."""
    for name, kind in get_type_hints(endpoint).items():
        if kind is UUID:
            path = path.replace(f"{{{name}}}", f"{{{name}:uuid}}")
    return path


class _StrictJson:
    """Validates what was read from JSON as JSON: 0 is no boolean, and "1" no number.

    What its Content-Type does not call JSON arrives unread, as bytes: 415 (RFC 9110, 15.5.16).
    """

    def __init__(self, adapter: TypeAdapter[Any]) -> None:
        self._adapter = adapter

    def validate_python(self, value: Any, **_: Any) -> Any:
        if isinstance(value, bytes):
            raise UnsupportedTypeError("api.not_json")
        return self._adapter.validate_json(json.dumps(_plain(value)), strict=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)


def _plain(value: Any) -> Any:
    """What JSON tells: 3.0 is the integer 3 (JSON Schema, 4.2.3)."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    return value


def _be_strict(body: ModelField) -> None:
    kind = type(body.field_info)
    if kind is Body:  # and neither Form nor File, whose values are texts
        body._type_adapter = cast("TypeAdapter[Any]", _StrictJson(body._type_adapter))


def _query_names(dependant: Dependant) -> Mapping[str, bool]:
    """The query parameters that a route takes, and whether each may come more than once."""
    return {
        field.alias: field_annotation_is_sequence(field.field_info.annotation)
        for field in get_flat_params(dependant)
        if getattr(field.field_info, "in_", None) in (None, ParamTypes.query)
    }


def _check_query(request: Request, known: Mapping[str, bool]) -> None:
    """Refuse what would be ignored: an unknown parameter, or all but the last of several."""
    counts = Counter(name for name, _ in request.query_params.multi_items())
    wrong = sorted(
        name for name, count in counts.items() if name not in known or count > 1 > known[name]
    )
    if wrong:
        raise BadInputError("invalid_fields", fields=", ".join(wrong))


def api_router(tag: str, prefix: str = "/v1") -> APIRouter:
    """A router for a feature's endpoints."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=ApiRoute)


def _needs(dependant: Dependant) -> Iterator[Needs]:
    for one in dependant.dependencies:
        need = permission_of(one.call)
        if need is not None:
            yield need
        yield from _needs(one)


def _described(need: Needs | None, *, signed_in: bool) -> dict[str, Any]:
    if not signed_in:
        return {"security": []}
    return {"x-permission": need.permission} if need and need.permission else {}
