"""The JSON endpoint of the export."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi.responses import StreamingResponse

from neurant.api.call import Call, needs
from neurant.api.route import api_router
from neurant.exports.download import begin_download
from neurant.exports.spool import ExportResponse

_ZIP: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A ZIP archive with one file for each table",
        "content": {"application/zip": {}},
    }
}

router = api_router("export")


@router.get("/export", response_class=StreamingResponse, responses=_ZIP)
async def export_everything(call: Annotated[Call, needs("data.export")]) -> ExportResponse:
    """Download all data of the company that the caller may read, as a ZIP archive.

    The owner and administradores may call it, also when the company is closed or unpaid.
    ``tables/<name>.ndjson`` has one JSON object per line for each row, and ``files/`` has the
    uploaded files. ``manifest.json`` is the last entry: an archive without it is incomplete. The
    archive holds no secrets, and all tables come from one snapshot. A company may run two exports
    at the same time; a third is refused with 429 ``exports.busy``. A client that reads nothing for
    30 seconds is disconnected.
    """
    await call.leave()
    return await begin_download(call.request, call.caller.principal)
