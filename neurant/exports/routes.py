"""The export over the API, and the settings' page that offers it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse

from neurant.accounts.current import PageStaff
from neurant.api.call import Call, needs
from neurant.api.route import api_router
from neurant.clock import utc_now
from neurant.console.frame import demand, frame
from neurant.console.navigation import SETTINGS_PATH
from neurant.console.pages import PageRoute
from neurant.console.templating import render
from neurant.database.connection import be_patient
from neurant.database.tenancy import ApiKey, Staff, tenant
from neurant.exports.service import begin_export, export_company
from neurant.exports.spool import ExportResponse, check_room

_STATEMENT_SECONDS = 60.0  # the first row of a large table waits for the whole sort
PAGE = f"{SETTINGS_PATH}/data"
_ZIP: dict[int | str, dict[str, Any]] = {
    200: {"description": "A ZIP with a file for each table", "content": {"application/zip": {}}}
}

api = api_router("export")
pages = APIRouter(prefix=PAGE, route_class=PageRoute, include_in_schema=False)
router = APIRouter()


@api.get("/export", response_class=StreamingResponse, responses=_ZIP)
async def export_everything(call: Annotated[Call, needs("data.export")]) -> ExportResponse:
    """Everything of the company that the caller may read, also when it is closed or unpaid.

    ``tables/<name>.ndjson`` has a row of JSON per line, ``files/`` what was uploaded; the archive
    is whole if ``manifest.json``, its last entry, is there. No secret is in it. All tables are of
    one moment. A company takes two exports at once (429 ``exports.busy`` beyond that); who reads
    nothing for 30 seconds is disconnected.
    """
    await call.leave()
    return await _begin(call.request, call.caller.principal)


@pages.get("", response_class=HTMLResponse)
async def data_page(request: Request, staff: PageStaff) -> Response:
    """What can be taken, and how."""
    async with tenant(request.app.state.pool, staff.principal) as connection:
        context = await frame(connection, staff)
    demand(context, "data.export")
    return render(request, "company/data.html", **context)


@pages.get("/export")
async def export_page(request: Request, staff: PageStaff) -> ExportResponse:
    """The archive, for a browser."""
    return await _begin(request, staff.principal)


async def _begin(request: Request, who: Staff | ApiKey) -> ExportResponse:
    """The archive's answer. The caller holds no connection."""
    state = request.app.state
    check_room(who.company_id)
    be_patient(_STATEMENT_SECONDS)
    await begin_export(state.pool, who, "companies", "zip")
    pieces = export_company(state.exporting, state.files, who)
    name = f"neurant-{utc_now():%Y-%m-%d}.zip"
    return ExportResponse(who.company_id, pieces, "application/zip", name)


router.include_router(api)
router.include_router(pages)
