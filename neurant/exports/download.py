"""The HTTP response that carries the archive of a company."""

from __future__ import annotations

from fastapi import Request

from neurant.core.clock import utc_now
from neurant.core.db.connection import be_patient
from neurant.core.db.tenancy import ApiKey, Staff
from neurant.core.services import services_of
from neurant.exports.service import begin_export, export_company
from neurant.exports.spool import ExportResponse, check_room

_STATEMENT_SECONDS = 60.0  # a large table is sorted before its first row is returned


async def begin_download(request: Request, who: Staff | ApiKey) -> ExportResponse:
    """Start an export and return its response. The caller must hold no connection."""
    state = services_of(request)
    check_room(who.company_id)
    be_patient(_STATEMENT_SECONDS)
    await begin_export(state.pool, who, "companies", "zip")
    pieces = export_company(state.export_pool, state.files, who)
    name = f"neurant-{utc_now():%Y-%m-%d}.zip"
    return ExportResponse(who.company_id, pieces, "application/zip", name)
