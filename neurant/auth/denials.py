"""The audit of refusals: every answer 403 to a known caller is recorded, whichever route gave it.

One middleware records them when the answer leaves. The authentication calls ``known`` as soon as it
has found the caller. The refused transaction was rolled back by then, so the audit line has a
transaction of its own.
"""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

from fastapi import Request
from psycopg_pool import PoolTimeout
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from neurant.auth import throttling
from neurant.auth.people import Person, SignedIn
from neurant.core.db.pool import DatabaseDown
from neurant.core.db.tenancy import ApiKey, Staff, tenant
from neurant.core.errors import ForbiddenError, NeurantError, UnavailableError
from neurant.core.http import SendError, send_problem
from neurant.core.services import services_of

_NOTE = "select private.note_denied(%s, %s, %s)"


def note_actor(request: Request, who: Staff | ApiKey, permission: str | None = None) -> None:
    """Note the caller of this request with their trail, and the permission that it needs if
    known.
    """
    request.state.actor = (request, who)
    request.state.permission = permission


def note_person(request: Request, person: SignedIn | Person) -> None:
    """Note the person whose session this request carries; a person without a company has no
    audit.
    """
    if person.company_id is not None:
        note_actor(request, Staff(person.auth_user_id, person.company_id, person.trail))


def note_missing_permission(request: Request, error: Exception) -> None:
    """Note the missing permission that an error names."""
    if isinstance(error, ForbiddenError) and error.params.get("permission"):
        request.state.permission = str(error.params["permission"])


def noting_denials(app: ASGIApp, send_error: SendError = send_problem) -> ASGIApp:
    """Return ``app`` with every answer 403 to a known caller recorded in the audit before it
    leaves.

    If the line cannot be recorded, ``send_error`` answers 429 beyond the rate of the company, or
    503 without the database.
    """

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        replaced = False

        async def noting(message: Message) -> None:
            nonlocal replaced
            if replaced:
                return
            if message["type"] == "http.response.start" and message["status"] == 403:
                try:
                    await _note(scope)
                except NeurantError as error:
                    replaced = True
                    await send_error(scope, send, error)
                    return
            await send(message)

        await app(scope, receive, noting)

    return serve


async def _note(scope: Scope) -> None:
    state = scope.get("state", {})
    request, who = state.pop("actor", (None, None))
    if request is None:
        return
    if "rate" not in state and "is_counted" not in state:
        await throttling.take_one(request, who.company_id)
    path = getattr(request.scope.get("route"), "path", request.url.path)
    line = (state.get("permission"), f"{request.method} {path}", _attempted(request))
    try:
        async with tenant(services_of(request).pool, who) as connection:
            await connection.execute(_NOTE, line)
    except (*DatabaseDown, PoolTimeout):
        raise UnavailableError("database_away") from None


def _attempted(request: Request) -> UUID | None:
    """Return the innermost id of the request's path, or None."""
    found = None
    for value in request.path_params.values():
        with suppress(ValueError):
            found = value if isinstance(value, UUID) else UUID(str(value))
    return found
