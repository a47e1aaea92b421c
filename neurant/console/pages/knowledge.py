"""The knowledge page: the documents that the bots answer from."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from neurant.auth.cookies import safe_next
from neurant.auth.current import PageStaff, check_origin
from neurant.auth.people import SignedIn
from neurant.console.context import console_context, require_in_context, require_permission
from neurant.console.notice import Notice
from neurant.console.page_route import PageRoute
from neurant.console.pages.added_documents import AddedDocuments, read_added, store_added
from neurant.console.readers import is_htmx
from neurant.console.templating import markup, render, translator
from neurant.core.db.tenancy import tenant
from neurant.core.errors import NeurantError, NotFoundError
from neurant.core.language import reader_language
from neurant.core.services import services_of
from neurant.knowledge import page_queries
from neurant.knowledge.page_queries import ListedDocument
from neurant.knowledge.service import document_error, unread_pages
from neurant.plans.limits import documents_limit, list_usage
from neurant.texts import Language

PAGE = "/console/knowledge"
EDIT = "documents.edit"
_MAX_SEARCH_LENGTH = 200
_UNFINISHED = ("pending", "processing")

router = APIRouter(prefix=PAGE, route_class=PageRoute, include_in_schema=False)


def shown_document(document: ListedDocument, language: Language) -> dict[str, Any]:
    """Return a document with the values and texts that pages show."""
    failed = document.status == "failed"
    return {
        "id": document.id,
        "name": document.name,
        "type": document.type,
        "size": document.size,
        "chunks": document.chunks or 0,
        "status": document.status,
        "progress": document.progress,
        "working": document.status in _UNFINISHED,
        "problem": document_error(document.error, language) if failed else None,
        "unread": unread_pages(document.unread_pages, language),
        "created_at": document.created_at,
        "bot_name": document.bot_name,
        "filed": [one for one in (document.category, *document.tags) if one],
        "language": document.language,
        "uploader": document.uploader,
    }


async def _page(
    request: Request,
    staff: SignedIn,
    notice: Notice | None = None,
    status: int = 200,
    words: str = "",
    added: AddedDocuments | None = None,
) -> Response:
    words = words.replace("\0", "").strip()[:_MAX_SEARCH_LENGTH]
    async with tenant(services_of(request).pool, staff.principal) as connection:
        context = await console_context(connection, staff, notice)
        require_in_context(context, "documents.read")
        documents = await page_queries.list_documents(connection, words=words)
        bots = await page_queries.list_bots(connection)
        usage = await list_usage(connection)
    language = reader_language(request)
    context |= {
        "documents": [shown_document(document, language) for document in documents],
        "query": words,
        "bots": bots,
        "limit_reached": documents_limit(usage, language),
        "may_edit": EDIT in context["may"],
        "limit": services_of(request).settings.max_document_bytes,
        "added": added or AddedDocuments(),
    }
    if is_htmx(request):
        return HTMLResponse(markup(request, "knowledge/answer.html", **context), status)
    return render(request, "knowledge/knowledge.html", status=status, **context)


@router.get("", response_class=HTMLResponse)
async def knowledge_page(request: Request, staff: PageStaff, q: str = "") -> Response:
    """Show the documents and their state; ``q`` filters by title, file or bot."""
    return await _page(request, staff, words=q)


@router.post("/documents")
async def add_documents(request: Request, staff: PageStaff) -> Response:
    """Add a pasted text, or files without a script; the page's script sends files to the API."""
    check_origin(request)
    async with tenant(services_of(request).pool, staff.principal) as connection:
        await require_permission(connection, EDIT)
    added = await read_added(request)
    try:
        await store_added(request, staff, added.bot_id(), added)
    except NeurantError as error:
        notice = Notice("bad", "alert", error.detail(reader_language(request)))
        return await _page(request, staff, notice, error.status, added=added)
    return RedirectResponse(PAGE, 303)


@router.post("/retire")
async def retire(
    request: Request,
    staff: PageStaff,
    document_id: Annotated[UUID, Form()],
    q: Annotated[str, Form()] = "",
) -> Response:
    """Retire a document, so that no new answer uses it; messages that cite it do not change."""
    async with tenant(services_of(request).pool, staff.principal) as connection:
        await require_permission(connection, EDIT)
        done = await page_queries.retire_document(connection, document_id)
    return await _respond(request, staff, done, "retired", q)


@router.post("/retry")
async def retry(
    request: Request,
    staff: PageStaff,
    document_id: Annotated[UUID, Form()],
    q: Annotated[str, Form()] = "",
    back: Annotated[str, Form()] = "",
) -> Response:
    """Request that a failed document is read again, then show the documents, or go ``back``."""
    async with tenant(services_of(request).pool, staff.principal) as connection:
        await require_permission(connection, EDIT)
        done = await page_queries.retry_document(connection, document_id)
    if done and back and not is_htmx(request):
        return RedirectResponse(safe_next(back), 303)
    return await _respond(request, staff, done, "retrying", q)


async def _respond(
    request: Request, staff: SignedIn, done: bool, outcome: str, words: str
) -> Response:
    if not done:
        raise NotFoundError("not_found")
    if not is_htmx(request):
        return RedirectResponse(PAGE, 303)
    title = translator(reader_language(request))(f"console.knowledge.{outcome}")
    return await _page(request, staff, Notice("ok", "check", title), words=words)
