"""The exception handlers of the web process: every error becomes an answer of the one shape."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import psycopg
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from psycopg_pool import PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from neurant.api import sql_errors
from neurant.auth import denials
from neurant.console.error_answers import answer_error
from neurant.core.body_bounds import list_fields
from neurant.core.db.pool import DatabaseDown
from neurant.core.db.tenancy import Caller
from neurant.core.errors import (
    BadInputError,
    MalformedError,
    NeurantError,
    NotFoundError,
    SetupError,
    UnavailableError,
)
from neurant.core.logs import get_logger
from neurant.core.services import services_of
from neurant.plans.limits import REACHED, reached

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
log = get_logger(__name__)


def add_error_handlers(app: FastAPI) -> None:
    """Register a handler for every kind of error that a route may raise."""
    app.add_exception_handler(NeurantError, _handle_neurant_error)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)
    app.add_exception_handler(HTTPException, _handle_http_error)
    app.add_exception_handler(psycopg.Error, _handle_sql_error)
    app.add_exception_handler(ClientDisconnect, _handle_disconnect)
    for down in (*DatabaseDown, PoolTimeout):
        app.add_exception_handler(down, _handle_missing_database)
    app.add_exception_handler(Exception, _handle_unexpected_error)


async def _handle_neurant_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, NeurantError)  # noqa: S101 - how it is registered
    if isinstance(error, SetupError):  # its text is for the operator, not for the caller
        log.error("badly_set_up", path=request.url.path, code=error.code, what_to_do=str(error))
        return await answer_error(request, NeurantError("internal"))
    denials.note_missing_permission(request, error)
    return await answer_error(request, error)


async def _handle_disconnect(request: Request, _: Exception) -> Response:
    return await answer_error(request, MalformedError("body_cut_short"))


async def _handle_sql_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, psycopg.Error)  # noqa: S101 - how it is registered
    if error.sqlstate == REACHED:
        caller: Caller = request.state.caller
        limit = await reached(services_of(request).pool, caller.principal, error)
        return await answer_error(request, limit)
    known = sql_errors.error_from_sql(error)
    if known is None:
        return await _handle_unexpected_error(request, error)
    return await answer_error(request, known)


async def _handle_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - how it is registered
    errors = error.errors()
    if any(one["type"] == "json_invalid" for one in errors):
        return await answer_error(request, MalformedError("bad_request"))
    fields = list_fields(_field(one, error.body) or "body" for one in errors)
    return await answer_error(request, BadInputError("invalid_fields", fields=fields))


def _field(error: dict[str, Any], body: Any) -> str:
    """Return the path of an invalid value, without the names of the union members of pydantic."""
    place, *parts = error["loc"]
    if place != "body":
        return ".".join(str(part) for part in parts)
    named, at = [], body
    for part in parts:
        if isinstance(at, Mapping):  # a form is a mapping, too
            if part not in at and error["type"] != "missing":
                continue
            at = at.get(part)
        elif isinstance(at, list) and isinstance(part, int) and part < len(at):
            at = at[part]
        else:
            break
        named.append(str(part))
    return ".".join(named)


async def _handle_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - how it is registered
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    told = NotFoundError(code)
    told.status = error.status_code
    is_known = error.status_code != HTTPStatus.NOT_FOUND
    answer = await answer_error(request, told, is_known=is_known)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        answer.headers["allow"] = _allowed(request)
    return answer


def _allowed(request: Request) -> str:
    """Return the methods of an address for ``Allow`` (RFC 9110, 15.5.6); each has its own route."""
    scope = {name: request.scope[name] for name in ("type", "path", "root_path", "headers")}

    def takes(method: str) -> bool:
        tried = scope | {"method": method}
        return any(route.matches(tried)[0] is Match.FULL for route in request.app.routes)

    return ", ".join(method for method in _METHODS if takes(method))


async def _handle_missing_database(request: Request, error: Exception) -> Response:
    log.warning("request_without_database", path=request.url.path, error=str(error))
    return await answer_error(request, UnavailableError("database_away", seconds=5))


async def _handle_unexpected_error(request: Request, error: Exception) -> Response:
    log.error("request_failed", path=request.url.path, exc_info=error)
    return await answer_error(request, NeurantError("internal"))
