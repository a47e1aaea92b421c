"""The store of uploaded files: a local folder, or any store that obstore supports by URL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from neurant.core.db.pool import must_hold_nothing
from neurant.core.errors import SetupError
from neurant.core.settings import Settings

_PIECE = 64 * 1024


def open_store(settings: Settings) -> ObjectStore:
    """Open this installation's store: ``NEURANT_FILES_URL``, or ``files`` in the data folder."""
    return open_place(settings.files_url, settings.data_dir / "files", "NEURANT_FILES_URL")


def open_place(
    url: str | None, folder: Path, named: str = "--heads (NEURANT_AUDIT_HEADS_URL)"
) -> ObjectStore:
    """Open the store at ``url`` (file:///..., s3://...), else in ``folder``, created if missing.

    Raises SetupError, which names only the setting (``named``), because the URL may have a
    password.
    """
    if url:
        return open_url(url, named)
    folder = folder.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # other accounts may enter the data folder, but not this one
    return LocalStore(folder)


def open_url(url: str, named: str) -> ObjectStore:
    """Open the store at ``url``. Raises SetupError, which names only the setting (``named``)."""
    try:
        return from_url(url)
    except (BaseError, ValueError):
        raise SetupError("setup.bad_store_url", setting=named) from None


def file_path(company_id: UUID, document_id: UUID) -> str:
    """Return the document's path in the store, which has no part chosen by the uploader."""
    return f"{company_id}/{document_id}"


async def write_file(store: ObjectStore, path: str, data: bytes) -> None:
    """Store a file."""
    must_hold_nothing("the store of files")
    await obstore.put_async(store, path, data)


async def delete_file(store: ObjectStore, path: str) -> None:
    """Delete a file; a missing file is no error."""
    must_hold_nothing("the store of files")
    with suppress(FileNotFoundError):
        await obstore.delete_async(store, path)


async def open_file(store: ObjectStore, path: str) -> tuple[int, AsyncIterator[bytes]]:
    """Return the file's size and an iterator of its bytes. Raises FileNotFoundError."""
    must_hold_nothing("the store of files")
    found = await obstore.get_async(store, path)

    async def pieces() -> AsyncIterator[bytes]:
        async for piece in found.stream(min_chunk_size=_PIECE):
            yield bytes(piece)

    return found.meta["size"], pieces()


async def read_file(store: ObjectStore, path: str) -> bytes:
    """Return the file's bytes. Raises FileNotFoundError."""
    must_hold_nothing("the store of files")
    found = await obstore.get_async(store, path)
    return bytes(await found.bytes_async())
