"""The class of every route under ``/v1``: idempotent answers, rate headers, documented refusals."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Any, get_type_hints
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.params import Form
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from neurant.api import idempotency
from neurant.api.call import Needs, check_known, permission_of
from neurant.api.fastapi_adapter import (
    ModelField,
    is_json_body,
    query_fields,
    replace_validator,
    served_route,
    takes_several,
)
from neurant.api.openapi import FORM, JSON, Shape, described_answers, described_headers
from neurant.auth import throttling
from neurant.auth.current import api_person
from neurant.core.body_bounds import (
    ANYBODY_BYTES,
    check_members,
    check_query_size,
    limit_body,
    list_fields,
)
from neurant.core.errors import BadInputError, MalformedError, UnsupportedTypeError

ANY = "*"  # the handler checks the type of the content itself
_SMALL = 64 * 1024  # bytes of content that are read of an unknown caller
_EXACT = 2**53  # above it a float does not represent every integer


class ApiRoute(APIRoute):
    """A route whose handler runs in one call (``neurant.api.call``)."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(_with_ids(path, endpoint), endpoint, **options)
        need = next(_needs(self.dependant), None)
        given = self.openapi_extra or {}
        signed_in = need is not None or _is_of_person(self.dependant) or "security" in given
        takes = _content_type(self.body_field, given)
        shape = Shape(signed_in=signed_in, of_company=need is not None, takes=takes)
        told, own = described_answers(self, shape), self.responses
        self.responses = {code: told.get(code, {}) | own.get(code, {}) for code in told | own}
        self.openapi_extra = _described(need, shape) | described_headers(self, shape) | given

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler of FastAPI, wrapped in the checks that every route under ``/v1``
        shares.
        """
        # FastAPI copies the routes of an included router, with fields of their own.
        made = served_route(self)
        for body in made.dependant.body_params:
            if is_json_body(body):
                replace_validator(body, _StrictJson)
        handle = super().get_route_handler()
        known = _query_names(self.dependant)
        fields = {one.alias: takes_several(one) for one in made.dependant.body_params}
        takes = _content_type(self.body_field, self.openapi_extra or {})
        once = any(_needs(self.dependant))
        is_anybodys = not (once or _is_of_person(self.dependant))

        async def handle_call(request: Request) -> Response:
            if is_anybodys:
                limit_body(request, ANYBODY_BYTES)
            check_query_size(request)
            _check_query(request, known)
            if once and _may_be_large(request):
                await check_known(request)
            await _check_content(request, takes, fields)
            if idempotency.carries_key(request) and not once:
                raise BadInputError("api.idempotency_not_here")
            # The body is read before a connection is taken, so that a slow sender holds none. The
            # request keeps it, and it is digested before it is parsed. A form was read above.
            if takes != FORM:
                body = await request.body()
                if takes == JSON:
                    check_members(body)
            if idempotency.carries_key(request):
                await idempotency.digest_request(request)
            try:
                async with AsyncExitStack() as request.state.transaction:
                    response = await handle(request)
                    await idempotency.end(request, response)
            except idempotency.AnsweredBeforeError as before:
                response = before.response
            throttling.tell(request, response)
            return response

        return handle_call


def _may_be_large(request: Request) -> bool:
    """Return whether the body may be larger than the part that is read of an unknown caller."""
    length = request.headers.get("content-length", "")
    if "transfer-encoding" in request.headers:
        return True
    return length.isdigit() and int(length) > _SMALL


def _with_ids(path: str, endpoint: Callable[..., Any]) -> str:
    """Return ``path`` with ``{…:uuid}`` for each UUID parameter, so that other texts are 404."""
    for name, kind in get_type_hints(endpoint).items():
        if kind is UUID:
            path = path.replace(f"{{{name}}}", f"{{{name}:uuid}}")
    return path


class _StrictJson:
    """A validator that treats values from JSON as JSON: 0 is no boolean, and "1" is no number.

    A body whose Content-Type is not JSON arrives unparsed, as bytes, and is refused with 415 (RFC
    9110, 15.5.16).
    """

    def __init__(self, adapter: TypeAdapter[Any]) -> None:
        self._adapter = adapter

    def validate_python(self, value: Any, **_: Any) -> Any:
        if isinstance(value, bytes):
            raise UnsupportedTypeError("api.not_json")
        try:
            told = json.dumps(_plain(value))
        except RecursionError:
            raise MalformedError("bad_request") from None
        return self._adapter.validate_json(told, strict=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)


def _plain(value: Any) -> Any:
    """Return the value with each integral float as an integer: 3.0 is 3 (JSON Schema, 4.2.3)."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    return value


def _query_names(dependant: Dependant) -> Mapping[str, bool]:
    """Return the query parameters of a route, and whether each may occur more than once."""
    return {field.alias: takes_several(field) for field in query_fields(dependant)}


def _check_query(request: Request, known: Mapping[str, bool]) -> None:
    """Refuse an unknown parameter, and a repeated parameter of which all but the last are
    ignored.
    """
    _refuse_ignored(Counter(name for name, _ in request.query_params.multi_items()), known)


def _refuse_ignored(counts: Mapping[str, int], known: Mapping[str, bool]) -> None:
    wrong = [name for name, count in counts.items() if name not in known or count > 1 > known[name]]
    if wrong:
        raise BadInputError("invalid_fields", fields=list_fields(wrong))


def _content_type(body: ModelField | None, extra: Mapping[str, Any]) -> str | None:
    """Return the type of the content that a route takes: ``ANY``, a media type, or None for no
    content.
    """
    if body is None:
        return ANY if "requestBody" in extra else None
    return FORM if isinstance(body.field_info, Form) else JSON


def content_type(request: Request) -> str:
    """Return the media type of the request, in lower case and without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def is_json(kind: str) -> bool:
    """Return whether the type is ``application/json`` or ends in ``+json`` (RFC 6839)."""
    return kind == JSON or (kind.startswith("application/") and kind.endswith("+json"))


async def _check_content(request: Request, takes: str | None, fields: Mapping[str, bool]) -> None:
    """Refuse content of another type, and content for a route that takes none.

    Content without a type has an unknown type (RFC 9110, 8.3). An empty JSON object is accepted
    where no content is expected, because many clients send one.
    """
    length = request.headers.get("content-length", "0")
    if takes == ANY or (length == "0" and "transfer-encoding" not in request.headers):
        return
    if takes is None:
        if (await request.body()).strip() not in (b"", b"{}"):
            raise BadInputError("api.no_content_here")
        return
    kind = content_type(request)
    if kind != FORM if takes == FORM else not is_json(kind):
        raise UnsupportedTypeError("api.content_type_refused", wanted=takes)
    if takes == FORM:
        await _check_form(request, fields)


async def _check_form(request: Request, known: Mapping[str, bool]) -> None:
    """Refuse an unknown part, and a repeated part of which all but the last are ignored."""
    counts = Counter(name for name, _ in (await request.form()).multi_items())
    _refuse_ignored(counts, known)


def api_router(tag: str, prefix: str = "/v1") -> APIRouter:
    """Return a router for the endpoints of a feature."""
    return APIRouter(prefix=prefix, tags=[tag], route_class=ApiRoute)


def _needs(dependant: Dependant) -> Iterator[Needs]:
    for one in dependant.dependencies:
        need = permission_of(one.call)
        if need is not None:
            yield need
        yield from _needs(one)


def _is_of_person(dependant: Dependant) -> bool:
    return any(one.call is api_person or _is_of_person(one) for one in dependant.dependencies)


def _described(need: Needs | None, shape: Shape) -> dict[str, Any]:
    if not shape.signed_in:
        return {"security": []}
    return {"x-permission": need.permission} if need and need.permission else {}
