"""Documents that a page's form brings: files, or a pasted text with an optional title."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from fastapi import Request
from starlette.datastructures import UploadFile

from neurant.auth.people import SignedIn
from neurant.core.errors import BadInputError, NotFoundError
from neurant.core.language import reader_language
from neurant.core.services import services_of
from neurant.knowledge.service import pasted_text, store_document
from neurant.texts import text

_FORM_ROOM = 64 * 1024  # bytes: the bound of the whole body is reached before that of a field


@dataclass(frozen=True, slots=True)
class AddedDocuments:
    """The values of the form; ``title`` and ``content`` are those of the pasted text."""

    chatbot_id: str = ""
    title: str = ""
    content: str = ""
    files: list[UploadFile] = field(default_factory=list)

    def bot_id(self) -> UUID:
        """Return the id of the bot that the form names. Raises NotFoundError for anything else."""
        try:
            return UUID(self.chatbot_id)
        except ValueError:
            raise NotFoundError("not_found") from None


async def read_added(request: Request) -> AddedDocuments:
    """Return the values of a form with documents; a file field that was left empty has no file."""
    most = services_of(request).settings.max_document_bytes + _FORM_ROOM
    form = await request.form(max_part_size=most)

    def typed(name: str) -> str:
        value = form.get(name, "")
        return value if isinstance(value, str) else ""

    files = [one for one in form.getlist("file") if isinstance(one, UploadFile) and one.filename]
    return AddedDocuments(typed("chatbot_id"), typed("title"), typed("content"), files)


async def store_added(
    request: Request, staff: SignedIn, chatbot_id: UUID, added: AddedDocuments
) -> None:
    """Store the files and the pasted text as documents of a bot.

    Raises BadInputError if there is neither, and the errors of ``store_document``.
    """
    state = services_of(request)
    made: list[tuple[str, bytes, str | None]] = [
        (one.filename or "", await one.read(), None) for one in added.files
    ]
    if added.content.strip():
        default = text("knowledge.pasted", reader_language(request))
        pasted = pasted_text(added.title, added.content, default)
        made.append((pasted.filename, pasted.data, pasted.title))
    if not made:
        raise BadInputError("document_nothing")
    for filename, data, title in made:
        await store_document(
            state.pool,
            state.files,
            state.settings,
            staff.principal,
            chatbot_id,
            filename,
            data,
            title,
        )
