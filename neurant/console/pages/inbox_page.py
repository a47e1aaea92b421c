"""The inbox page, read in one transaction with the reader's rights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

from fastapi import Request, Response
from fastapi.responses import HTMLResponse

from neurant.auth.people import SignedIn
from neurant.console.context import console_context, require_in_context
from neurant.console.notice import Notice
from neurant.console.pages.inbox_view import grouped, thread_messages, thread_view
from neurant.console.readers import is_htmx
from neurant.console.templating import markup, render, translator
from neurant.conversations import queries
from neurant.core.db.pool import Connection
from neurant.core.db.tenancy import tenant
from neurant.core.errors import NotFoundError
from neurant.core.language import reader_language
from neurant.core.services import services_of

FILTERS = ("all", "queue", "mine", "resolved")
REPLY = "conversations.reply"
_MAX_SEARCH_LENGTH = 200


@dataclass(frozen=True, slots=True)
class InboxView:
    """The filter, the search and the conversation that the reader asks for."""

    filter: str
    words: str
    conversation_id: UUID | None = None
    panel: bool = False

    @property
    def path(self) -> str:
        """Return the path of the page, without the filters."""
        if self.conversation_id is None:
            return "/console/inbox"
        return f"/console/inbox/{self.conversation_id}" + ("/customer" if self.panel else "")


def asked(
    filter_name: str, words: str, conversation: str | None = None, *, panel: bool = False
) -> InboxView:
    """Return the request of an address or a form. Raises NotFoundError for a malformed id."""
    kept = words.replace("\0", "").strip()[:_MAX_SEARCH_LENGTH]
    try:
        conversation_id = UUID(conversation) if conversation else None
    except ValueError:
        raise NotFoundError("not_found") from None
    return InboxView(filter_name if filter_name in FILTERS else "all", kept, conversation_id, panel)


async def inbox_page(
    request: Request,
    staff: SignedIn,
    wanted: InboxView,
    *,
    notice: Notice | None = None,
    draft: str = "",
    status: int = 200,
) -> Response:
    """Return the inbox as a page, or only its columns for the page's script.

    The answer for a conversation that the reader may not see equals that for a missing one.
    """
    async with tenant(services_of(request).pool, staff.principal) as connection:
        context = await console_context(connection, staff, notice)
        require_in_context(context, "conversations.read")
        context |= await _read(request, connection, staff, wanted)
    context |= {
        "may_reply": REPLY in context["may"],
        "draft": draft,
        "new_message_id": uuid4(),
        "here": wanted.path,
        "filter": wanted.filter,
        "query": wanted.words,
        "show_panel": wanted.panel,
    }
    if is_htmx(request):
        return HTMLResponse(markup(request, "inbox/answer.html", **context), status)
    return render(request, "inbox/inbox.html", status=status, **context)


async def _read(
    request: Request, connection: Connection, staff: SignedIn, wanted: InboxView
) -> dict[str, Any]:
    t = translator(reader_language(request))
    rows = await queries.list_conversations(connection, wanted.filter, wanted.words)
    recent = [row for row in rows if not row.is_hitl_active]
    has_more = len(recent) > queries.MAX_RECENT
    if has_more:
        rows.remove(recent[-1])
    counts = await queries.count_conversations(connection)
    groups = grouped(rows, t)
    waiting = next((group.rows[0].id for group in groups if group.name == "queue"), None)
    context: dict[str, Any] = {
        "groups": groups,
        "counts": counts,
        "waiting": counts.queue,
        "shown": len(rows),
        "more": has_more,
        "next_waiting": waiting,
        "thread": None,
    }
    if wanted.conversation_id is not None:
        context |= await _read_thread(request, connection, staff, wanted.conversation_id)
    return context


async def _read_thread(
    request: Request, connection: Connection, staff: SignedIn, conversation_id: UUID
) -> dict[str, Any]:
    t = translator(reader_language(request))
    conversation = await queries.find_conversation(connection, conversation_id)
    if conversation is None:
        raise NotFoundError("not_found")
    messages = await queries.newest_messages(connection, conversation_id)
    thread = thread_view(conversation, len(messages), can_take_over=staff.sees_all_bots, t=t)
    zone = ZoneInfo(conversation.timezone)
    return {
        "thread": thread,
        "messages": thread_messages(messages, str(thread["name"]), zone, t),
        "sessions": await queries.hitl_sessions(connection, conversation_id),
        "history": await queries.other_conversations(connection, conversation_id),
    }
