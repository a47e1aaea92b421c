"""Taking a document in: checked, kept, and handed to the worker in one transaction."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from obstore.store import ObjectStore
from psycopg import errors as pg
from psycopg.types.json import Jsonb

from neurant.api.texts import is_storable
from neurant.database.pool import Connection, Pool, fetch_value
from neurant.database.tenancy import Staff
from neurant.errors import BadInputError, ConflictError, ForbiddenError, TooLargeError
from neurant.knowledge.extract import detect_type
from neurant.knowledge.files import file_path, write_file
from neurant.names import reads_as_label, tidy
from neurant.plans.limits import within_limits
from neurant.settings import Settings
from neurant.texts import Language, text

MAX_NAME = 255
PROCESS_TASK = "process_document"

_NEW_ID = "select uuidv7()"
_INSERT = """
insert into public.documents (company_id, id, chatbot_id, filename, original_filename, file_type,
  file_size_bytes, file_url, content_digest, uploaded_by)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s, (select private.user_id()))
"""


@dataclass(frozen=True, slots=True)
class CheckedDocument:
    """A file that can be taken in."""

    name: str
    file_type: str
    data: bytes


async def check_document(settings: Settings, filename: str, data: bytes) -> CheckedDocument:
    """The file, if we can take it. Raises TooLargeError, BadInputError, UnsupportedTypeError."""
    name = tidy(filename.replace("\\", "/").rsplit("/", 1)[-1])
    if len(name) > MAX_NAME or not is_storable(name) or not reads_as_label(name):
        raise BadInputError("document_name", most=MAX_NAME)
    if not data:
        raise BadInputError("document_empty", filename=name)
    if len(data) > settings.max_document_bytes:
        size, most = (f"{n / 1048576:.0f} MB" for n in (len(data), settings.max_document_bytes))
        raise TooLargeError("document_too_large", filename=name, size=size, most=most)
    return CheckedDocument(name, await asyncio.to_thread(detect_type, data, name), data)


async def insert_document(
    connection: Connection,
    store: ObjectStore,
    company_id: UUID,
    chatbot_id: UUID | None,
    document: CheckedDocument,
) -> UUID:
    """Take a checked file, in the caller's transaction, as knowledge of one bot or of all (None).

    Raises ConflictError for one that is already there, BadInputError for an unknown bot,
    ForbiddenError for who may not add documents. Where the transaction is rolled back, nothing
    refers to the file.
    """
    digest = hashlib.sha256(document.data).digest()
    try:
        document_id = await fetch_value(connection, _NEW_ID)
        assert isinstance(document_id, UUID)  # noqa: S101 - what uuidv7() returns
        path = file_path(company_id, document_id)
        name, size = document.name, len(document.data)
        row = (company_id, document_id, chatbot_id, name, name, document.file_type, size)
        await connection.execute(_INSERT, (*row, path, digest))
        await connection.execute(
            "select private.defer_job(%s, %s)",
            (PROCESS_TASK, Jsonb({"document_id": str(document_id)})),
        )
        # Before the commit: a row never names a file that is not there.
        await write_file(store, path, document.data)
    except pg.UniqueViolation:
        raise ConflictError("document_duplicate", filename=document.name) from None
    except pg.ForeignKeyViolation:
        raise BadInputError("unknown_chatbot_id") from None
    except pg.InsufficientPrivilege:
        raise ForbiddenError("documents_not_yours") from None
    return document_id


async def store_document(
    pool: Pool,
    store: ObjectStore,
    settings: Settings,
    staff: Staff,
    chatbot_id: UUID | None,
    filename: str,
    data: bytes,
) -> UUID:
    """Take a file in, in a transaction of its own; the new document's id.

    Raises as ``check_document`` and ``insert_document``, and LimitReachedError where the plan's
    storage is full: then nothing is kept.
    """
    document = await check_document(settings, filename, data)
    async with within_limits(pool, staff) as connection:
        return await insert_document(connection, store, staff.company_id, chatbot_id, document)


def document_error(stored: str | None, language: Language) -> str:
    """The text of a document's ``processing_error``, in the reader's language."""
    if not stored:
        return ""
    error = json.loads(stored)
    return text(f"errors.{error['code']}", language, **error["params"])


def unread_pages(pages: Sequence[int], language: Language) -> str:
    """What to tell of pages without text, as "2, 5-9"; empty if there are none."""
    if not pages:
        return ""
    runs: list[list[int]] = []
    for page in pages:
        if runs and runs[-1][-1] == page - 1:
            runs[-1][1:] = [page]
        else:
            runs.append([page])
    told = ", ".join("-".join(map(str, run)) for run in runs)
    key = "knowledge.unread_page" if len(pages) == 1 else "knowledge.unread_pages"
    return text(key, language, pages=told)
