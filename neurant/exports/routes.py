"""The export over the API."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi.responses import StreamingResponse

from neurant.api.call import Call, needs
from neurant.api.route import api_router
from neurant.exports.download import begin_download
from neurant.exports.spool import ExportResponse

_ZIP: dict[int | str, dict[str, Any]] = {
    200: {"description": "A ZIP with a file for each table", "content": {"application/zip": {}}}
}

router = api_router("export")


@router.get("/export", response_class=StreamingResponse, responses=_ZIP)
async def export_everything(call: Annotated[Call, needs("data.export")]) -> ExportResponse:
    """Everything of the company that the caller may read, also when it is closed or unpaid.

    ``tables/<name>.ndjson`` has a row of JSON per line, ``files/`` what was uploaded; the archive
    is whole if ``manifest.json``, its last entry, is there. No secret is in it. All tables are of
    one moment. A company takes two exports at once (429 ``exports.busy`` beyond that); who reads
    nothing for 30 seconds is disconnected.
    """
    await call.leave()
    return await begin_download(call.request, call.caller.principal)
