"""The endpoints for documents and the search in them."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import File, Query, Response, UploadFile
from fastapi.responses import StreamingResponse

from neurant.api.call import Call, needs
from neurant.api.etag import check_match, tagged
from neurant.api.listing import Page
from neurant.api.route import api_router
from neurant.core.errors import ConflictError, ForbiddenError, NotFoundError
from neurant.core.object_store import open_file
from neurant.core.services import services_of
from neurant.knowledge import queries
from neurant.knowledge.page_queries import retire_document, retry_document
from neurant.knowledge.schemas import (
    ChunkOut,
    ChunkQuery,
    DocumentOut,
    DocumentPatch,
    DocumentQuery,
    FoundPassages,
    KnowledgeQueriesQuery,
    KnowledgeQueryOut,
    PassageOut,
    SearchIn,
    TakenDocument,
)
from neurant.knowledge.search import prepared, search_within
from neurant.knowledge.service import (
    check_document,
    document_error,
    forget_file,
    insert_document,
    keep_file,
)
from neurant.knowledge.vocabulary import vocabulary_for
from neurant.texts import preferred_language

router = api_router("documents")
Reading = Annotated[Call, needs("documents.read")]
Upload = Annotated[
    UploadFile,
    File(
        description="PDF, Word (.docx) or text file with its name",
        json_schema_extra={"minLength": 1, "format": "document"},
    ),
]
Editing = Annotated[Call, needs("documents.edit")]
_MEDIA_TYPES = {
    "pdf": "application/pdf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "txt": "text/plain",
}


@router.get("/documents")
async def list_documents(
    call: Reading, query: Annotated[DocumentQuery, Query()]
) -> Page[DocumentOut]:
    """List the company's documents with the state of their processing."""
    data, cursor = await queries.list_documents(call.connection, query)
    return Page(data=[_with_localized_error(call, one) for one in data], next_cursor=cursor)


@router.post("/documents", status_code=202)
async def add_shared_document(call: Editing, file: Upload) -> TakenDocument:
    """Upload a document as knowledge of all bots.

    The file is a PDF, Word or text file in the multipart field ``file``. Answers 202 with its id;
    the worker reads the document afterwards.

    Refuses: 409 ``document_duplicate`` if the same file is present already; 409
    ``limit.next.max_storage_mb``, ``limit.last.max_storage_mb`` or ``limit.none.max_storage_mb`` if
    the plan allows no more storage; 413 ``document_too_large`` if the file is too large; 422
    ``document_name``, ``document_empty``, ``document_type_unsupported`` or
    ``document_type_mismatch`` if the file is not acceptable.
    """
    return await _take(call, None, file)


@router.post("/chatbots/{chatbot_id}/documents", status_code=202)
async def add_document(call: Editing, chatbot_id: UUID, file: Upload) -> TakenDocument:
    """Upload a document as knowledge of one bot.

    The file is a PDF, Word or text file in the multipart field ``file``. Answers 202 with its id;
    the worker reads the document afterwards.

    Refuses: 409 ``document_duplicate`` if the same file is present already; 409
    ``limit.next.max_storage_mb``, ``limit.last.max_storage_mb`` or ``limit.none.max_storage_mb`` if
    the plan allows no more storage; 413 ``document_too_large`` if the file is too large; 422
    ``document_name``, ``document_empty``, ``document_type_unsupported`` or
    ``document_type_mismatch`` if the file is not acceptable.
    """
    if not await queries.bot_exists(call.connection, chatbot_id):
        raise NotFoundError("not_found")
    return await _take(call, chatbot_id, file)


@router.get("/documents/{document_id}")
async def get_document(call: Reading, document_id: UUID, response: Response) -> DocumentOut:
    """Return one document, also a retired one."""
    found = await _found(call, document_id)
    tagged(response, found, DocumentPatch)
    return found


@router.patch("/documents/{document_id}")
async def change_document(
    call: Editing, document_id: UUID, patch: DocumentPatch, response: Response
) -> DocumentOut:
    """Change the classification of a document.

    A field that is left out keeps its value, null empties it.
    """
    current = await queries.get_document(call.connection, document_id, locked=True)
    if current is None:
        await _found(call, document_id)
        raise ForbiddenError("api.not_permitted", permission="documents.edit")
    check_match(call.request, current, DocumentPatch)
    changes = patch.model_dump(exclude_unset=True)
    if changes:
        await queries.update_document(call.connection, document_id, changes)
    return await get_document(call, document_id, response)


@router.post("/documents/{document_id}/retire")
async def retire(call: Editing, document_id: UUID) -> DocumentOut:
    """Retire a document, so that no answer uses it any more.

    Past answers that quote the document stay. To retire it again changes nothing.
    """
    await retire_document(call.connection, document_id)
    return await _found(call, document_id)


@router.post("/documents/{document_id}/retry", status_code=202)
async def retry(call: Editing, document_id: UUID) -> DocumentOut:
    """Read a document again whose processing failed.

    Answers 202 with the document; the worker reads it next.

    Refuses: 409 ``document_not_failed`` if the processing did not fail.
    """
    found = await _found(call, document_id)
    if not await retry_document(call.connection, document_id):
        raise ConflictError("document_not_failed")
    return found


@router.get(
    "/documents/{document_id}/file",
    response_class=StreamingResponse,
    responses={200: {"content": {one: {} for one in _MEDIA_TYPES.values()}}},
)
async def download(call: Reading, document_id: UUID) -> StreamingResponse:
    """Download the file of a document as it was uploaded.

    A client that reads nothing for 30 seconds is disconnected.

    Refuses: 404 ``document_file_missing`` if the file is no longer stored.
    """
    stored = await queries.get_file(call.connection, document_id)
    if stored is None:
        raise NotFoundError("not_found")
    await call.leave()
    try:
        size, pieces = await open_file(services_of(call.request).files, stored.file_url)
    except FileNotFoundError:
        raise NotFoundError("document_file_missing") from None
    name = f"attachment; filename*=UTF-8''{quote(stored.filename, safe='')}"
    headers = {"content-disposition": name, "content-length": str(size)}
    return StreamingResponse(pieces, media_type=_MEDIA_TYPES[stored.file_type], headers=headers)


@router.get("/documents/{document_id}/chunks")
async def list_chunks(
    call: Reading, document_id: UUID, query: Annotated[ChunkQuery, Query()]
) -> Page[ChunkOut]:
    """List the passages of a document in their order."""
    await _found(call, document_id)
    data, cursor = await queries.list_chunks(call.connection, document_id, query)
    return Page(data=data, next_cursor=cursor)


@router.get("/knowledge/search")
async def search_knowledge(call: Reading, query: Annotated[SearchIn, Query()]) -> FoundPassages:
    """Search the documents of a bot for a question.

    Answers with the passages that the bot would use, best first.
    """
    return await _searched(call, query)


@router.post("/knowledge/search")
async def search_knowledge_by_post(call: Reading, query: SearchIn) -> FoundPassages:
    """Search the documents of a bot for a question in the request body.

    Use it for questions that must not appear in an address, because addresses are logged. Answers
    as GET does.
    """
    return await _searched(call, query)


@router.get("/knowledge/queries")
async def list_knowledge_queries(
    call: Reading, query: Annotated[KnowledgeQueriesQuery, Query()]
) -> Page[KnowledgeQueryOut]:
    """List the questions that bots looked up in their documents."""
    data, cursor = await queries.list_asked(call.connection, query)
    return Page(data=data, next_cursor=cursor)


async def _take(call: Call, chatbot_id: UUID | None, file: UploadFile) -> TakenDocument:
    state = services_of(call.request)
    async with call.without_connection():  # reading the file and the object store may take long
        checked = await check_document(state.settings, file.filename or "", await file.read())
        kept = await keep_file(state.files, call.caller.company_id, checked)
    try:
        await insert_document(call.connection, chatbot_id, kept)
    except BaseException:
        forget_file(state.files, kept)
        raise
    return TakenDocument(id=kept.id)


async def _searched(call: Call, asked: SearchIn) -> FoundPassages:
    if not await queries.bot_exists(call.connection, asked.chatbot_id):
        raise NotFoundError("not_found")
    vocabulary = await vocabulary_for(call.connection, asked.chatbot_id, asked.query)
    async with call.without_connection():
        question = await prepared(call.caller.company_id, asked.query, vocabulary)
    ranked = await search_within(call.connection, asked.chatbot_id, question)
    return FoundPassages(
        data=[
            PassageOut(
                chunk_id=one.candidate.chunk_id,
                document_id=one.candidate.document_id,
                document=one.candidate.document,
                page_number=one.candidate.page_number,
                section_title=one.candidate.section_title,
                content=one.candidate.content,
                score=one.score,
                similarity=one.candidate.similarity,
                lexical=one.candidate.lexical,
            )
            for one in ranked[: asked.limit]
        ]
    )


async def _found(call: Call, document_id: UUID) -> DocumentOut:
    found = await queries.get_document(call.connection, document_id)
    if found is None:
        raise NotFoundError("not_found")
    return _with_localized_error(call, found)


def _with_localized_error(call: Call, document: DocumentOut) -> DocumentOut:
    """Return the document with its error in the reader's language."""
    language = preferred_language(call.request.headers.get("accept-language"))
    return document.model_copy(update={"error": document_error(document.error, language) or None})
