"""Who may do what, over the API and as a page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from neurant.accounts.current import PageStaff
from neurant.api.call import Call, needs
from neurant.api.route import api_router
from neurant.console.frame import frame
from neurant.console.navigation import SETTINGS_PATH
from neurant.console.pages import PageRoute
from neurant.console.templating import render
from neurant.database.tenancy import tenant
from neurant.permissions.queries import list_permissions
from neurant.permissions.schemas import Names, Permission, PermissionOut, PermissionsOut, ReachOut
from neurant.texts import text

api = api_router("permissions")
pages = APIRouter(route_class=PageRoute, include_in_schema=False)
router = APIRouter()


@api.get("/permissions")
async def get_permissions(call: Annotated[Call, needs("company.read")]) -> PermissionsOut:
    """The one table of who may do what, with what the caller may do now."""
    return PermissionsOut(data=[told(one) for one in await list_permissions(call.connection)])


@pages.get(f"{SETTINGS_PATH}/permissions", response_class=HTMLResponse)
async def permissions_page(request: Request, staff: PageStaff) -> Response:
    """The same table, to read."""
    async with tenant(request.app.state.pool, staff.principal) as connection:
        context = await frame(connection, staff)
        found = await list_permissions(connection)
    groups: dict[str, list[Permission]] = {}
    for one in found:
        groups.setdefault(one.object, []).append(one)
    return render(request, "company/permissions.html", groups=groups.items(), **context)


def told(one: Permission) -> PermissionOut:
    """A permission as it crosses the wire."""
    thing, _, operation = one.name.partition(".")
    return PermissionOut(
        name=one.name,
        object=thing,
        operation=operation,
        object_names=_names(f"permissions.objects.{thing}"),
        operation_names=_names(f"permissions.{one.name}"),
        reach=ReachOut(
            owner=one.owner,
            administrador=one.administrador,
            supervisor=one.supervisor,
            operador=one.operador,
        ),
        is_read=one.is_read,
        is_narrowable=one.is_narrowable,
        for_keys=one.for_keys,
        mine=one.mine,
    )


def _names(name: str) -> Names:
    return Names(es=text(name, "es"), en=text(name, "en"))


router.include_router(api)
router.include_router(pages)
