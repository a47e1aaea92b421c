"""The settings page of API keys."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import ValidationError

from neurant.api.listing import Cursor
from neurant.api_keys import queries
from neurant.api_keys.schemas import KeyIn, KeyQuery
from neurant.api_keys.service import make_key
from neurant.auth.current import PageStaff
from neurant.auth.people import SignedIn
from neurant.console.context import console_context, require_in_context
from neurant.console.navigation import SETTINGS_PATH
from neurant.console.notice import Notice
from neurant.console.page_route import PageRoute
from neurant.console.templating import render, translator
from neurant.core.db.pool import Connection
from neurant.core.db.tenancy import tenant
from neurant.core.errors import NotFoundError
from neurant.core.language import reader_language
from neurant.core.services import services_of
from neurant.permissions.schemas import Permission
from neurant.permissions.service import list_permissions

PAGE = f"{SETTINGS_PATH}/api-keys"
ROLES = ("administrador", "supervisor", "operador")
LIVES = ("30", "90", "365", "")

router = APIRouter(prefix=PAGE, route_class=PageRoute, include_in_schema=False)
Text = Annotated[str, Form()]


@router.get("", response_class=HTMLResponse)
async def keys_page(
    request: Request,
    staff: PageStaff,
    told: str = "",
    cursor: Annotated[Cursor | None, Query()] = None,
) -> Response:
    """Show the company's keys, newest first."""
    async with tenant(services_of(request).pool, staff.principal) as connection:
        context = await console_context(connection, staff, _notice(request, told))
        require_in_context(context, "api_keys.read")
        keys, following = await queries.list_keys(connection, KeyQuery(cursor=cursor))
    return render(
        request,
        "api_keys/list.html",
        keys=keys,
        next_cursor=following,
        is_first=cursor is None,
        may_manage="api_keys.manage" in context["may"],
        **context,
    )


@router.get("/new", response_class=HTMLResponse)
async def new_key_page(request: Request, staff: PageStaff) -> Response:
    """Show the form for a new key."""
    return await _form(request, staff, {"name": "", "role": "operador", "days": "90"}, set())


@router.post("", response_class=HTMLResponse)
async def create_key(
    request: Request,
    staff: PageStaff,
    name: Text = "",
    role: Text = "",
    days: Text = "",
    scope: Annotated[list[str] | None, Form()] = None,
) -> Response:
    """Create a key and show its secret this one time."""
    given, chosen = {"name": name, "role": role, "days": days}, set(scope or ())
    try:
        new = KeyIn.model_validate(
            {
                "name": name.strip(),
                "role": role,
                "scopes": chosen,
                "expires_in_days": int(days) if days.isdecimal() else None,
            }
        )
    except ValidationError as error:
        wrong = {str(one["loc"][0]) for one in error.errors()}
        return await _form(request, staff, given, chosen, wrong=wrong)
    async with tenant(services_of(request).pool, staff.principal) as connection:
        context = await console_context(connection, staff)
        require_in_context(context, "api_keys.manage")
        made = await make_key(connection, new)
    base = services_of(request).settings.base_url()
    return render(request, "api_keys/made.html", status=201, made=made, base_url=base, **context)


@router.post("/revoke")
async def revoke_key(
    request: Request, staff: PageStaff, key_id: Annotated[UUID, Form()]
) -> Response:
    """Revoke a key."""
    async with tenant(services_of(request).pool, staff.principal) as connection:
        require_in_context(await console_context(connection, staff), "api_keys.manage")
        outcome = await queries.revoke_key(connection, key_id)
    if outcome == "not_found":
        raise NotFoundError("not_found")
    return RedirectResponse(f"{PAGE}?notice=revoked", 303)


async def _form(
    request: Request,
    staff: SignedIn,
    given: dict[str, str],
    chosen: set[str],
    *,
    wrong: set[str] | None = None,
) -> Response:
    async with tenant(services_of(request).pool, staff.principal) as connection:
        context = await console_context(connection, staff)
        require_in_context(context, "api_keys.manage")
        groups = await _scopes(connection)
    return render(
        request,
        "api_keys/new.html",
        status=422 if wrong else 200,
        given=given,
        chosen=chosen,
        wrong=wrong or set(),
        groups=groups.items(),
        roles=ROLES,
        lives=LIVES,
        **context,
    )


async def _scopes(connection: Connection) -> dict[str, list[Permission]]:
    groups: dict[str, list[Permission]] = {}
    for one in await list_permissions(connection):
        if one.for_keys == "by_scope":
            groups.setdefault(one.object, []).append(one)
    return groups


def _notice(request: Request, told: str) -> Notice | None:
    if told != "revoked":
        return None
    t: Any = translator(reader_language(request))
    return Notice("ok", "check", t("api_keys.revoked"), t("api_keys.revoked_hint"))
