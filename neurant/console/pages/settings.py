"""The entry to the settings."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from neurant.auth.current import PageStaff
from neurant.console.context import my_permissions
from neurant.console.navigation import SETTINGS_PATH, first_setting
from neurant.console.page_route import PageRoute
from neurant.core.db.tenancy import tenant
from neurant.core.errors import NotFoundError
from neurant.core.services import services_of

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get(SETTINGS_PATH)
async def settings(request: Request, staff: PageStaff) -> Response:
    """Redirect to the first settings page that the reader may open."""
    async with tenant(services_of(request).pool, staff.principal) as connection:
        may = await my_permissions(connection)
    first = first_setting(request, may)
    if first is None:
        raise NotFoundError("not_found")
    return RedirectResponse(first, 303)
