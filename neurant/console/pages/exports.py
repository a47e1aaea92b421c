"""The settings page of the company's data, and the export as a download."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from neurant.auth.current import PageStaff
from neurant.console.context import console_context, require_in_context
from neurant.console.navigation import SETTINGS_PATH
from neurant.console.page_route import PageRoute
from neurant.console.templating import render
from neurant.core.db.tenancy import tenant
from neurant.core.services import services_of
from neurant.exports.download import begin_download
from neurant.exports.spool import ExportResponse

router = APIRouter(prefix=f"{SETTINGS_PATH}/data", route_class=PageRoute, include_in_schema=False)


@router.get("", response_class=HTMLResponse)
async def data_page(request: Request, staff: PageStaff) -> Response:
    """Show the exports that the reader can download."""
    async with tenant(services_of(request).pool, staff.principal) as connection:
        context = await console_context(connection, staff)
    require_in_context(context, "data.export")
    return render(request, "company/data.html", **context)


@router.get("/export")
async def export_page(request: Request, staff: PageStaff) -> ExportResponse:
    """Stream the export of the company's data as a ZIP file."""
    return await begin_download(request, staff.principal)
