"""A buffer on disk between the creation of an export and its download.

An export is written to a temporary file of its own by a task that never waits for the client, and
the client's stream reads that file. A transaction therefore lasts only as long as our own work. A
client that reads nothing occupies a file and a connection until the HTTP front ends it (30
seconds).
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import IO
from uuid import UUID

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from neurant.core.errors import RateLimitedError
from neurant.core.fair import FairGate, QueueFullError, each_loop
from neurant.core.logs import get_logger

_MAX_CONCURRENT_BUILDS = 2  # per process, because each holds a connection and compresses
_MAX_CONCURRENT_DOWNLOADS = 16  # per process, because each holds a file
_MAX_CONCURRENT_DOWNLOADS_PER_COMPANY = 2
_MAX_BYTES = 2 * 1024**3  # of one export on our disk; 16 exports take at most 32 GB
_MAKING_SECONDS = 600.0  # of one export; 2 GB take about two minutes
_BUSY_SECONDS = 60
_PIECE = 64 * 1024
_making = each_loop(lambda: FairGate(_MAX_CONCURRENT_BUILDS, 1))
_sending = each_loop(
    lambda: FairGate(_MAX_CONCURRENT_DOWNLOADS, _MAX_CONCURRENT_DOWNLOADS_PER_COMPANY)
)
log = get_logger(__name__)


class _Spool:
    """A temporary file that one task writes while another reads it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._written = 0
        self._grown = asyncio.Event()
        self._is_whole = False
        self.problem: Exception | None = None

    def write(self, piece: bytes) -> None:
        """Append a piece. Raises OverflowError if the export exceeds the maximum size."""
        self._written += len(piece)
        if self._written > _MAX_BYTES:
            raise OverflowError("the export exceeds the maximum size of its temporary file")
        self._file.seek(0, 2)
        self._file.write(piece)
        self._grown.set()

    def end(self, problem: Exception | None) -> None:
        """Mark the file as complete, or as truncated by ``problem``."""
        self._is_whole, self.problem = True, problem
        self._grown.set()

    async def read(self) -> AsyncGenerator[bytes]:
        """Yield the written bytes in pieces, then raise the problem that truncated the file."""
        place = 0
        while True:
            while place < self._written:
                self._file.seek(place)
                piece = self._file.read(_PIECE)
                place += len(piece)
                yield piece
            if self._is_whole:
                break
            self._grown.clear()
            if place == self._written:
                await self._grown.wait()
        if self.problem is not None:
            raise self.problem


async def spooled(company_id: UUID, pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    """Yield the same pieces, created without waiting for the client, in the company's turn."""
    with tempfile.TemporaryFile() as file:
        spool = _Spool(file)
        making = asyncio.create_task(_make(company_id, pieces, spool))
        try:
            async for piece in spool.read():
                yield piece
        finally:
            making.cancel()
            await asyncio.wait((making,))  # its transaction ends before the file is deleted


async def _make(company_id: UUID, pieces: AsyncGenerator[bytes], spool: _Spool) -> None:
    problem: Exception | None = None
    try:
        async with (
            _making().slot(company_id, waiting=_MAX_CONCURRENT_DOWNLOADS_PER_COMPANY),
            asyncio.timeout(_MAKING_SECONDS),
            aclosing(pieces),
        ):
            async for piece in pieces:
                spool.write(piece)
    except Exception as error:
        log.warning("export_cut_short", company_id=str(company_id), error=repr(error))
        problem = error
    finally:
        spool.end(problem)


def check_room(company_id: UUID) -> None:
    """Raise RateLimitedError if the process, or the company, sends as many exports as it may."""
    if not _sending().has_room(company_id):
        raise _busy()


def _busy() -> RateLimitedError:
    return RateLimitedError("exports.busy", seconds=_BUSY_SECONDS)


class ExportResponse(StreamingResponse):
    """The pieces of an export as a file download that counts against the limits of exports."""

    def __init__(
        self, company_id: UUID, pieces: AsyncGenerator[bytes], media_type: str, filename: str
    ) -> None:
        disposition = {"content-disposition": f'attachment; filename="{filename}"'}
        super().__init__(pieces, media_type=media_type, headers=disposition)
        self._company_id, self._pieces = company_id, pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces and stop their creation when the client is gone; 429 if full."""
        try:
            async with (
                _sending().slot(self._company_id, waiting=0),
                aclosing(self._pieces),
            ):
                await super().__call__(scope, receive, send)
        except QueueFullError:  # another export began after ``check_room``
            raise _busy() from None
