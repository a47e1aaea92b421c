"""Accepting a document: it is checked, stored, and queued for the worker in one transaction."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from obstore.store import ObjectStore
from psycopg import errors as pg
from psycopg.types.json import Jsonb

from neurant.core.db.pool import Connection, Pool, must_hold_nothing
from neurant.core.db.tenancy import Staff
from neurant.core.errors import BadInputError, ConflictError, ForbiddenError, TooLargeError
from neurant.core.ids import uuid7
from neurant.core.names import reads_as_label, tidy, without_hidden
from neurant.core.object_store import delete_file, file_path, write_file
from neurant.core.settings import Settings
from neurant.core.text_types import is_storable
from neurant.knowledge.extract import detect_type
from neurant.plans.limits import within_limits
from neurant.texts import Language, text

MAX_NAME = 255
PROCESS_TASK = "process_document"
_forgetting: set[asyncio.Task[None]] = set()

_INSERT = """
insert into public.documents (company_id, id, chatbot_id, filename, original_filename, title,
  file_type, file_size_bytes, file_url, content_digest, uploaded_by)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, (select private.user_id()))
"""
_MARKDOWN_HEADING = re.compile(r"^(#{1,6}) (\S.*)$", re.MULTILINE)
_MAX_GIVEN_TITLE = 200  # characters; the file's name, which is made of it, may have 255
_MAX_LINE = 80  # characters of the line that names a pasted text without a title


@dataclass(frozen=True, slots=True)
class CheckedDocument:
    """A file that passed the checks."""

    name: str
    file_type: str
    data: bytes
    title: str | None = None


async def check_document(settings: Settings, filename: str, data: bytes) -> CheckedDocument:
    """Check an uploaded file's name, size and type.

    Raises TooLargeError, BadInputError and UnsupportedTypeError.
    """
    name = tidy(filename.replace("\\", "/").rsplit("/", 1)[-1])
    if len(name) > MAX_NAME or not is_storable(name) or not reads_as_label(name):
        raise BadInputError("document_name", most=MAX_NAME)
    if not data:
        raise BadInputError("document_empty", filename=name)
    if len(data) > settings.max_document_bytes:
        size, most = (f"{n / 1048576:.0f} MB" for n in (len(data), settings.max_document_bytes))
        raise TooLargeError("document_too_large", filename=name, size=size, most=most)
    must_hold_nothing("a thread that looks into a file")
    return CheckedDocument(name, await asyncio.to_thread(detect_type, data, name), data)


@dataclass(frozen=True, slots=True)
class PastedText:
    """A text that a person pasted, as a file with a name and a title."""

    title: str
    filename: str
    data: bytes


def pasted_text(title: str, content: str, default_title: str) -> PastedText:
    """Return a pasted text as a UTF-8 file: Markdown if it has such headings, else plain text.

    Without a title it is named after its headings of the highest level, else after its first line,
    or ``default_title`` if no line is a name.
    Raises BadInputError for a title that is too long or not one visible line.
    """
    given = tidy(title)
    if given and (len(given) > _MAX_GIVEN_TITLE or not reads_as_label(given)):
        raise BadInputError("document_title", most=_MAX_GIVEN_TITLE)
    named = given or _named_after(content) or default_title
    extension = "md" if _MARKDOWN_HEADING.search(content) else "txt"
    filename = f"{named.replace('/', '-').replace(chr(92), '-')}.{extension}"
    return PastedText(named, filename, content.replace("\0", "").strip().encode())


def _named_after(content: str) -> str:
    """Return the main headings, or the first line that is a name; "" if there is none."""
    headings = _MARKDOWN_HEADING.findall(content)
    highest = min((len(mark) for mark, _ in headings), default=0)
    titles = (_as_title(title) for mark, title in headings if len(mark) == highest)
    main = [*filter(reads_as_label, titles)]
    if not main:
        return next(filter(reads_as_label, map(_as_title, content.splitlines())), "")
    named = main[0]
    for heading in main[1:]:
        if len(named) + len(heading) + 2 > _MAX_LINE:
            break
        named += f", {heading}"
    return named


def _as_title(line: str) -> str:
    bare = without_hidden(line.strip("#*=-_ \t"))
    if len(bare) <= _MAX_LINE:
        return bare
    return bare[:_MAX_LINE].rpartition(" ")[0] or bare[:_MAX_LINE]


@dataclass(frozen=True, slots=True)
class KeptDocument:
    """A checked file in the store, under the id of the document that will be inserted."""

    id: UUID
    company_id: UUID
    checked: CheckedDocument

    @property
    def path(self) -> str:
        """Return the file's path in the store."""
        return file_path(self.company_id, self.id)


async def keep_file(
    store: ObjectStore, company_id: UUID, document: CheckedDocument
) -> KeptDocument:
    """Put a checked file into the store.

    This happens before the row is inserted, so that a row never names a missing file. A caller that
    cannot insert the row removes the file.
    """
    kept = KeptDocument(uuid7(), company_id, document)
    await write_file(store, kept.path, document.data)
    return kept


def forget_file(store: ObjectStore, kept: KeptDocument) -> None:
    """Remove a file whose row was refused.

    A task of its own does it, because the request may hold a connection.
    """
    task = asyncio.create_task(delete_file(store, kept.path))
    _forgetting.add(task)
    task.add_done_callback(_forgetting.discard)


async def insert_document(
    connection: Connection, chatbot_id: UUID | None, kept: KeptDocument
) -> None:
    """Insert a stored file in the caller's transaction and queue it for the worker.

    ``chatbot_id`` None shares it with all bots. Raises ConflictError for a duplicate, BadInputError
    for an unknown bot, and ForbiddenError for a caller who may not add documents.
    """
    document, name = kept.checked, kept.checked.name
    digest = hashlib.sha256(document.data).digest()
    row = (kept.company_id, kept.id, chatbot_id, name, name, document.title, document.file_type)
    try:
        await connection.execute(_INSERT, (*row, len(document.data), kept.path, digest))
        await connection.execute(
            "select private.defer_job(%s, %s)",
            (PROCESS_TASK, Jsonb({"document_id": str(kept.id)})),
        )
    except pg.UniqueViolation:
        raise ConflictError("document_duplicate", filename=name) from None
    except pg.ForeignKeyViolation:
        raise BadInputError("unknown_chatbot_id") from None
    except pg.InsufficientPrivilege:
        raise ForbiddenError("documents_not_yours") from None


async def store_document(
    pool: Pool,
    store: ObjectStore,
    settings: Settings,
    staff: Staff,
    chatbot_id: UUID | None,
    filename: str,
    data: bytes,
    title: str | None = None,
) -> UUID:
    """Accept a file in a transaction of its own and return the new document's id.

    Raises the errors of ``check_document`` and ``insert_document``, and LimitReachedError where the
    plan's storage is full. After an error the file is removed.
    """
    document = replace(await check_document(settings, filename, data), title=title)
    kept = await keep_file(store, staff.company_id, document)
    try:
        async with within_limits(pool, staff) as connection:
            await insert_document(connection, chatbot_id, kept)
    except BaseException:
        forget_file(store, kept)
        raise
    return kept.id


def document_error(stored: str | None, language: Language) -> str:
    """Return the text of a document's ``processing_error``, in the reader's language."""
    if not stored:
        return ""
    error = json.loads(stored)
    return text(f"errors.{error['code']}", language, **error["params"])


def unread_pages(pages: Sequence[int], language: Language) -> str:
    """Return a sentence about the pages without text ("2, 5-9"); "" if there are none."""
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
