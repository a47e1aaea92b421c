"""The inbox: its pages, its actions, and the stream that keeps it live."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from sse_starlette import EventSourceResponse, ServerSentEvent

from neurant.auth.current import PageStaff, session_of
from neurant.auth.people import SignedIn
from neurant.console.context import my_permissions
from neurant.console.notice import Notice
from neurant.console.page_route import PageRoute
from neurant.console.pages.inbox_page import REPLY, InboxView, asked, inbox_page
from neurant.console.readers import is_htmx
from neurant.console.templating import translator
from neurant.conversations.handoff import queries as hitl_queries
from neurant.conversations.handoff import service as hitl
from neurant.core.clock import monotonic
from neurant.core.db.tenancy import tenant
from neurant.core.errors import (
    BadInputError,
    ForbiddenError,
    LimitReachedError,
    NotFoundError,
    RateLimitedError,
)
from neurant.core.formats import Formats
from neurant.core.language import reader_language
from neurant.core.realtime import MAX_STREAMS, StaffStreams
from neurant.core.services import services_of

_PING_SECONDS = 15
_RETRY_SECONDS = 60
_RECHECK = timedelta(seconds=20).total_seconds()  # between checks without traffic
_STALE = 3.0  # seconds after which the session is checked again before an event is sent
_MIN_REDRAW_SECONDS = 0.25  # seconds between two redraws of one inbox

router = APIRouter(prefix="/console/inbox", route_class=PageRoute, include_in_schema=False)
Text = Annotated[str, Form()]


async def _from_address(
    request: Request,
    filter: str = "all",
    q: str = "",
) -> InboxView:
    conversation = request.path_params.get("conversation")
    return asked(filter, q, conversation, panel=request.url.path.endswith("/customer"))


async def _from_form(
    request: Request,
    filter: Text = "all",
    q: Text = "",
) -> InboxView:
    return asked(filter, q, request.path_params["conversation"])


Wanted = Annotated[InboxView, Depends(_from_address)]
Posted = Annotated[InboxView, Depends(_from_form)]


@router.get("", response_class=HTMLResponse)
async def inbox(request: Request, staff: PageStaff, wanted: Wanted) -> Response:
    """Show the list, with no conversation open."""
    return await inbox_page(request, staff, wanted)


@router.get("/stream")
async def inbox_stream(request: Request, staff: PageStaff) -> EventSourceResponse:
    """Stream an event whenever something changed; the page then reloads what its reader may see."""
    streams = services_of(request).staff_streams
    if not streams.has_room(staff.session_id):
        raise RateLimitedError("api.too_many_streams", seconds=_RETRY_SECONDS, most=MAX_STREAMS)
    return EventSourceResponse(_news(request, staff, streams), ping=_PING_SECONDS)


async def _news(
    request: Request, staff: SignedIn, streams: StaffStreams
) -> AsyncIterator[ServerSentEvent]:
    hub, session_id = services_of(request).hub, staff.session_id
    with streams.opened(session_id), hub.subscribe(staff.company_id) as subscription:
        # The first event covers the changes before the subscription.
        checked = monotonic()
        while True:
            streams.grant_redraw(session_id)
            yield ServerSentEvent("1", event="news")
            await asyncio.sleep(_MIN_REDRAW_SECONDS)
            await subscription.wait(max(0.0, checked + _RECHECK - monotonic()))
            if monotonic() - checked < _STALE:
                continue
            # Shielded, because a browser that disconnects here must not cost a pooled connection.
            if await asyncio.shield(asyncio.ensure_future(session_of(request))) is None:
                return  # signed out or deactivated meanwhile
            checked = monotonic()


@router.get("/{conversation}", response_class=HTMLResponse)
async def conversation_page(request: Request, staff: PageStaff, wanted: Wanted) -> Response:
    """Show one conversation next to the list."""
    return await inbox_page(request, staff, wanted)


@router.get("/{conversation}/customer", response_class=HTMLResponse)
async def customer_page(request: Request, staff: PageStaff, wanted: Wanted) -> Response:
    """Show the customer's details, which are a screen of their own on a phone."""
    return await inbox_page(request, staff, wanted)


@router.post("/{conversation}/messages")
async def send_reply(
    request: Request, staff: PageStaff, wanted: Posted, message_id: Text, text: Text = ""
) -> Response:
    """Send an answer, which takes the conversation; after an error the page keeps the draft."""
    state = services_of(request)
    try:
        async with _permitted(request, staff):
            outcome = await hitl.reply(
                state.pool, state.hub, staff, _id(wanted), _uuid(message_id), text
            )
    except BadInputError as error:
        notice = Notice("bad", "alert", error.detail(reader_language(request)))
        return await _answer(request, staff, wanted, notice, draft=text, status=422)
    except LimitReachedError as error:
        notice = _full(request, error, kept=True)
        return await _answer(request, staff, wanted, notice, draft=text, status=error.status)
    if outcome == "sent":
        return await _answer(request, staff, wanted, None)
    notice = await _lost_race(request, staff, wanted, outcome, kept=True)
    return await _answer(request, staff, wanted, notice, draft=text, status=409)


@router.post("/{conversation}/take")
async def take_conversation(
    request: Request, staff: PageStaff, wanted: Posted, take_over: Text = ""
) -> Response:
    """Take the conversation; if another person was first, show who."""
    state = services_of(request)
    over = take_over == "yes"
    try:
        async with _permitted(request, staff):
            outcome = await hitl.take(state.pool, state.hub, staff, _id(wanted), over=over)
    except LimitReachedError as error:
        notice = _full(request, error, kept=False)
        return await _answer(request, staff, wanted, notice, status=error.status)
    if outcome in ("taken", "yours"):
        return await _answer(request, staff, wanted, None)
    notice = await _lost_race(request, staff, wanted, outcome, kept=False)
    return await _answer(request, staff, wanted, notice, status=409)


@router.post("/{conversation}/resolve")
async def resolve_conversation(
    request: Request, staff: PageStaff, wanted: Posted, notes: Text = ""
) -> Response:
    """Resolve the conversation, which gives it back to the bot."""
    t = translator(reader_language(request))
    state = services_of(request)
    async with _permitted(request, staff):
        outcome = await hitl.resolve(state.pool, state.hub, staff, _id(wanted), notes)
    name = "not_yours" if outcome == "taken_by_other" else outcome
    kind, icon = ("ok", "check") if outcome == "resolved" else ("warn", "info")
    notice = Notice(kind, icon, t(f"console.notices.{name}"), t(f"console.notices.{name}_hint"))
    return await _answer(request, staff, wanted, notice)


@router.post("/{conversation}/resend")
async def resend_message(
    request: Request, staff: PageStaff, wanted: Posted, message_id: Text
) -> Response:
    """Send a message again that failed, or whose delivery is unconfirmed."""
    t = translator(reader_language(request))
    state = services_of(request)
    async with _permitted(request, staff):
        outcome = await hitl.resend(state.pool, state.hub, staff, _id(wanted), _uuid(message_id))
    if outcome == "resent":
        notice = Notice("ok", "check", t("console.notices.resent"))
    else:
        title, hint = t("console.notices.not_resendable"), t("console.notices.not_resendable_hint")
        notice = Notice("warn", "info", title, hint)
    return await _answer(request, staff, wanted, notice)


@asynccontextmanager
async def _permitted(request: Request, staff: SignedIn) -> AsyncIterator[None]:
    """Turn NotFoundError into ForbiddenError if the caller may not answer conversations at all."""
    try:
        yield
    except NotFoundError:
        async with tenant(services_of(request).pool, staff.principal) as connection:
            if REPLY not in await my_permissions(connection):
                raise ForbiddenError("api.not_permitted", permission=REPLY) from None
        raise


def _id(wanted: InboxView) -> UUID:
    if wanted.conversation_id is None:
        raise NotFoundError("not_found")
    return wanted.conversation_id


def _uuid(value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError:
        raise NotFoundError("not_found") from None


def _full(request: Request, error: LimitReachedError, *, kept: bool) -> Notice:
    """Return the notice that the plan allows no more takeovers at a time."""
    language = reader_language(request)
    detail = translator(language)("console.notices.draft_kept") if kept else ""
    return Notice("warn", "alert", error.detail(language), detail)


async def _lost_race(
    request: Request, staff: SignedIn, wanted: InboxView, outcome: str, *, kept: bool
) -> Notice:
    """Return the notice of who was first, how long ago, and (``kept``) that the draft is saved."""
    language = reader_language(request)
    t = translator(language)
    detail = t("console.notices.draft_kept") if kept else ""
    if outcome == "closed":
        return Notice("warn", "info", t("console.notices.closed"), detail)
    async with tenant(services_of(request).pool, staff.principal) as connection:
        holder = await hitl_queries.find_holder(connection, _id(wanted))
    if holder is None or holder.name is None or holder.taken_at is None:
        return Notice("warn", "users", t("console.notices.taken_by_other_plain"), detail)
    ago = Formats(language).waited(holder.taken_at)
    title = t("console.notices.taken_by_other", name=holder.name, ago=ago)
    return Notice("warn", "users", title, detail)


async def _answer(
    request: Request,
    staff: SignedIn,
    wanted: InboxView,
    notice: Notice | None,
    *,
    draft: str = "",
    status: int = 200,
) -> Response:
    """Return the redrawn inbox for the page's script; redirect a plain form to the page."""
    if not is_htmx(request) and notice is None:
        return RedirectResponse(wanted.path, 303)
    return await inbox_page(request, staff, wanted, notice=notice, draft=draft, status=status)
