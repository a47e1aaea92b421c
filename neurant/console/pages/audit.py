"""The settings page of the audit log, and its export as a file."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncGenerator
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, ValidationError

from neurant.api.listing import Cursor
from neurant.audit import log_queries
from neurant.audit.schemas import Action, AuditFilters, AuditLogOut, AuditQuery
from neurant.auth.current import PageStaff
from neurant.auth.people import SignedIn
from neurant.console.context import console_context, require_in_context
from neurant.console.navigation import SETTINGS_PATH
from neurant.console.page_route import PageRoute
from neurant.console.pages.audit_lines import describe_line, thing
from neurant.console.templating import render
from neurant.core.db.pool import Pool
from neurant.core.db.tenancy import tenant
from neurant.core.language import reader_language
from neurant.core.services import services_of
from neurant.exports.service import begin_export
from neurant.exports.spool import ExportResponse, check_room, spooled
from neurant.texts import catalogue

PAGE = f"{SETTINGS_PATH}/audit"
ACTIONS = Action.__args__  # type: ignore[attr-defined]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

router = APIRouter(prefix=PAGE, route_class=PageRoute, include_in_schema=False)


class AuditFilterForm(BaseModel):
    """The filters as the form sends them; an empty value sets no filter."""

    model_config = ConfigDict(extra="ignore")

    action: str = ""
    thing: str = ""
    person: str = ""
    request_id: str = ""
    since: str = ""
    until: str = ""

    def filters(self, timezone: str) -> AuditFilters:
        """Return the query's filters, with whole days in ``timezone``. Raises ValidationError."""
        zone = ZoneInfo(timezone)
        given = {
            "action": self.action,
            "resource_type": self.thing,
            "user_id": self.person,
            "request_id": self.request_id.strip(),
            "since": _midnight(self.since, zone, 0),
            "until": _midnight(self.until, zone, 1),
        }
        return AuditFilters.model_validate({name: one for name, one in given.items() if one})

    def query(self) -> str:
        """Return the filters as the query string of an address."""
        return urlencode({name: one for name, one in self.model_dump().items() if one})


def _midnight(day: str, zone: ZoneInfo, later: int) -> datetime | None:
    try:
        return datetime.combine(date.fromisoformat(day) + timedelta(days=later), time(), zone)
    except (ValueError, OverflowError):
        return None


@router.get("", response_class=HTMLResponse)
async def audit_page(
    request: Request,
    staff: PageStaff,
    asked: Annotated[AuditFilterForm, Query()],
    cursor: Annotated[Cursor | None, Query()] = None,
) -> Response:
    """Show the lines of the audit log, newest first."""
    language = reader_language(request)
    async with tenant(services_of(request).pool, staff.principal) as connection:
        context = await console_context(connection, staff)
        require_in_context(context, "audit.read")
        filters, is_wrong = _filters(asked, context["timezone"])
        query = AuditQuery(cursor=cursor, **filters.model_dump())
        lines, following = await log_queries.list_audit_logs(connection, query)
        people = await log_queries.people(connection)
    things = [name.rpartition(".")[2] for name in catalogue("es") if ".things." in name]
    return render(
        request,
        "audit/audit.html",
        lines=[describe_line(line, language) for line in lines],
        asked=asked,
        is_wrong=is_wrong,
        people=people,
        actions=ACTIONS,
        things=sorted((thing(one, language), one) for one in things),
        is_filtered=bool(asked.query()),
        next_cursor=following,
        is_first=cursor is None,
        **context,
    )


@router.get("/export")
async def export_audit(
    request: Request,
    staff: PageStaff,
    asked: Annotated[AuditFilterForm, Query()],
    form: Literal["csv", "ndjson"] = "csv",
) -> Response:
    """Stream the filtered lines as CSV or NDJSON, oldest first."""
    pool = services_of(request).pool
    async with tenant(pool, staff.principal) as connection:
        context = await console_context(connection, staff)
    require_in_context(context, "audit.read")
    filters, _ = _filters(asked, context["timezone"])
    check_room(staff.company_id)
    await begin_export(pool, staff.principal, "audit_logs", form)
    exporting = services_of(request).export_pool
    lines = spooled(staff.company_id, _lines(exporting, staff, filters, form))
    kind = {"csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson"}[form]
    return ExportResponse(staff.company_id, lines, kind, f"audit.{form}")


def _filters(asked: AuditFilterForm, timezone: str) -> tuple[AuditFilters, bool]:
    """Return the filters and whether one was invalid; an invalid filter removes all of them.

    The page then shows every line with a warning, instead of hiding lines silently.
    """
    try:
        return asked.filters(timezone), False
    except ValidationError:
        return AuditFilters(), True


async def _lines(
    pool: Pool, staff: SignedIn, filters: AuditFilters, form: str
) -> AsyncGenerator[bytes]:
    if form == "csv":
        # Spreadsheets recognize UTF-8 by the byte order mark.
        yield b"\xef\xbb\xbf" + _csv(list(AuditLogOut.model_fields))
    async with tenant(pool, staff.principal, snapshot=True) as connection:
        async for line in log_queries.stream_audit_logs(connection, filters):
            yield _csv(_cells(line)) if form == "csv" else line.model_dump_json().encode() + b"\n"


def _cells(line: AuditLogOut) -> list[str]:
    values: dict[str, Any] = line.model_dump(mode="json")
    values["details"] = line.model_dump_json(include={"details"})[len('{"details":') : -1]
    return ["" if value is None else _harmless(str(value)) for value in values.values()]


def _harmless(cell: str) -> str:
    """Return the cell so that no spreadsheet reads it as a formula (OWASP, CSV injection)."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def _csv(cells: list[str]) -> bytes:
    row = io.StringIO()
    csv.writer(row).writerow(cells)
    return row.getvalue().encode()
