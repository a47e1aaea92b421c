"""The settings page with the table of permissions."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from neurant.auth.current import PageStaff
from neurant.console.context import console_context
from neurant.console.navigation import SETTINGS_PATH
from neurant.console.page_route import PageRoute
from neurant.console.templating import render
from neurant.core.db.tenancy import tenant
from neurant.core.services import services_of
from neurant.permissions.schemas import Permission
from neurant.permissions.service import list_permissions

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get(f"{SETTINGS_PATH}/permissions", response_class=HTMLResponse)
async def permissions_page(request: Request, staff: PageStaff) -> Response:
    """Show the permissions of every role, and the reader's own."""
    async with tenant(services_of(request).pool, staff.principal) as connection:
        context = await console_context(connection, staff)
        found = await list_permissions(connection)
    groups: dict[str, list[Permission]] = {}
    for one in found:
        groups.setdefault(one.object, []).append(one)
    return render(request, "company/permissions.html", groups=groups.items(), **context)
