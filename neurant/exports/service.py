"""The export of all data of a company, as a ZIP archive that is created while it is sent.

A table is one ``tables/<name>.ndjson``, and a document's file is one ``files/<id>/<name>``. The
manifest comes last, so an archive without it is incomplete. All tables are read in one snapshot
without waiting for the client (``spool``); the files are read from the store at the client's speed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import IO, cast
from uuid import UUID
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import obstore
import orjson
from obstore.store import ObjectStore

from neurant.core.clock import monotonic, utc_now
from neurant.core.db.pool import Pool
from neurant.core.db.tenancy import ApiKey, Staff, tenant
from neurant.core.errors import ForbiddenError
from neurant.core.fair import let_others_run
from neurant.core.object_store import file_path
from neurant.exports import queries
from neurant.exports.queries import StoredFile
from neurant.exports.spool import spooled

_CHUNK = 64 * 1024
_PIECE = 16 * 1024  # half a millisecond of compressing
_MAX_TURN_SECONDS = 0.001  # seconds


class _Sink:
    """A buffer to which the archive is written and from which it is read in pieces.

    It is no file of ``io``: the garbage collector would close such a file before the archive that
    writes to it.
    """

    def __init__(self) -> None:
        self._held = bytearray()

    def write(self, data: bytes) -> int:
        self._held += data
        return len(data)

    def flush(self) -> None:
        """There is nothing behind it."""

    def take(self, least: int) -> bytes:
        """Return and remove the buffered bytes if there are at least ``least`` of them."""
        if len(self._held) < least:
            return b""
        taken = bytes(self._held)
        self._held.clear()
        return taken


class _Zip(ZipFile):
    """A ZIP that ends only where its block ends without an error.

    One that was cut short stays without its directory: to write it is impossible while an entry is
    open, and nobody would read it.
    """

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()

    def __del__(self) -> None:
        """ZipFile would write the directory here."""


@dataclass(slots=True)
class _Archive:
    """An archive in progress, with the list of its contents so far."""

    moment: datetime
    sink: _Sink = field(default_factory=_Sink)
    rows: dict[str, int] = field(default_factory=dict)
    wanted_files: list[StoredFile] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    lost_files: list[str] = field(default_factory=list)
    busy: float = 0.0  # seconds of compressing since others had a turn

    def entry(self, name: str) -> ZipInfo:
        """Return the header of an entry, dated with the time of the export."""
        info = ZipInfo(name, self.moment.timetuple()[:6])
        info.compress_type = ZIP_DEFLATED
        return info


async def begin_export(pool: Pool, who: Staff | ApiKey, what: str, form: str) -> None:
    """Record the export in audit. Raises ForbiddenError if the caller may not export."""
    async with tenant(pool, who) as connection:
        if not await queries.note_export(connection, what, form):
            raise ForbiddenError("api.not_permitted", permission="data.export")


async def export_company(
    pool: Pool, store: ObjectStore, who: Staff | ApiKey
) -> AsyncGenerator[bytes]:
    """Yield the archive in pieces; an error truncates it.

    The content depends on what ``who`` may read. ``pool`` is one for exports only, because a
    connection is held for as long as reading takes.
    """
    archive = _Archive(utc_now())
    with _Zip(cast(IO[bytes], archive.sink), "w", ZIP_DEFLATED) as made:
        async with aclosing(spooled(who.company_id, _tables(archive, made, pool, who))) as tables:
            async for piece in tables:
                yield piece
        for file in archive.wanted_files:
            async for piece in _add_file(archive, made, store, who.company_id, file):
                yield piece
        made.writestr(archive.entry("manifest.json"), _manifest(archive, who.company_id))
    yield archive.sink.take(1)


async def _tables(
    archive: _Archive, made: ZipFile, pool: Pool, who: Staff | ApiKey
) -> AsyncGenerator[bytes]:
    async with tenant(pool, who, snapshot=True) as connection:
        archive.wanted_files = await queries.stored_files(connection)
        for table in await queries.readable_tables(connection):
            name = archive.entry(f"tables/{table.name}.ndjson")
            with made.open(name, "w", force_zip64=True) as entry:
                archive.rows[table.name] = 0
                async for row in queries.stream_rows(connection, table):
                    await _write(archive, entry, row.encode() + b"\n")
                    archive.rows[table.name] += 1
                    if piece := archive.sink.take(_CHUNK):
                        yield piece
    if piece := archive.sink.take(1):
        yield piece


async def _write(archive: _Archive, entry: IO[bytes], data: bytes) -> None:
    """Compress in the event loop, in small pieces between which everybody else has a turn.

    No thread and no longer pause: the table's connection is held meanwhile.
    """
    for start in range(0, len(data), _PIECE):
        begun = monotonic()
        entry.write(data[start : start + _PIECE])
        archive.busy += monotonic() - begun
        if archive.busy > _MAX_TURN_SECONDS:
            archive.busy = 0.0
            await let_others_run()


async def _add_file(
    archive: _Archive, made: ZipFile, store: ObjectStore, company_id: UUID, file: StoredFile
) -> AsyncIterator[bytes]:
    # Only the last part of the name is used, so that no reader of ZIP files writes elsewhere.
    name = PurePosixPath(file.filename.replace("\\", "/")).name or "file"
    path = f"files/{file.id}/{name}"
    try:
        found = await obstore.get_async(store, file_path(company_id, file.id))
    except FileNotFoundError:
        archive.lost_files.append(path)
        return
    with made.open(archive.entry(path), "w", force_zip64=True) as entry:
        async for part in found.stream(min_chunk_size=_CHUNK):
            await _write(archive, entry, bytes(part))
            if piece := archive.sink.take(_CHUNK):
                yield piece
    archive.files.append(path)


def _manifest(archive: _Archive, company_id: UUID) -> bytes:
    told = {
        "company_id": str(company_id),
        "exported_at": archive.moment.isoformat(),
        "rows": archive.rows,
        "files": archive.files,
        "missing_files": archive.lost_files,
    }
    return orjson.dumps(told, option=orjson.OPT_INDENT_2)
