"""Where the uploaded files are kept: a local folder, or any store that obstore knows by URL."""

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
    """The store of this installation: ``NEURANT_FILES_URL``, or ``files`` in the data folder."""
    return open_place(settings.files_url, settings.data_dir / "files", "NEURANT_FILES_URL")


def open_place(
    url: str | None, folder: Path, named: str = "--heads (NEURANT_AUDIT_HEADS_URL)"
) -> ObjectStore:
    """The store at ``url`` (file:///..., s3://...), else ``folder``, made if missing.

    Raises SetupError, which says only where the URL was ``named``: it may hold a password.
    """
    if url:
        return open_url(url, named)
    folder = folder.expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # other accounts may pass through the data folder, but not in here
    return LocalStore(folder)


def open_url(url: str, named: str) -> ObjectStore:
    """The store at ``url``. Raises SetupError, which says only where the URL was ``named``."""
    try:
        return from_url(url)
    except (BaseError, ValueError):
        raise SetupError("setup.bad_store_url", setting=named) from None


def file_path(company_id: UUID, document_id: UUID) -> str:
    """The document's path in the store. No part of it comes from the uploader."""
    return f"{company_id}/{document_id}"


async def write_file(store: ObjectStore, path: str, data: bytes) -> None:
    """Keep a file."""
    must_hold_nothing("the store of files")
    await obstore.put_async(store, path, data)


async def delete_file(store: ObjectStore, path: str) -> None:
    """Remove a file; one that is not there is removed already."""
    must_hold_nothing("the store of files")
    with suppress(FileNotFoundError):
        await obstore.delete_async(store, path)


async def open_file(store: ObjectStore, path: str) -> tuple[int, AsyncIterator[bytes]]:
    """The file's size, and its bytes piece by piece. Raises FileNotFoundError."""
    must_hold_nothing("the store of files")
    found = await obstore.get_async(store, path)

    async def pieces() -> AsyncIterator[bytes]:
        async for piece in found.stream(min_chunk_size=_PIECE):
            yield bytes(piece)

    return found.meta["size"], pieces()


async def read_file(store: ObjectStore, path: str) -> bytes:
    """The file's bytes."""
    must_hold_nothing("the store of files")
    found = await obstore.get_async(store, path)
    return bytes(await found.bytes_async())
