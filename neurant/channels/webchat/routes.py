"""The web chat over HTTP: sessions, messages, feedback and the event stream.

The chat's page belongs to the console.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from sse_starlette import EventSourceResponse
from starlette.types import Receive, Scope, Send

from neurant.channels.events import InboundMessage, is_storable
from neurant.channels.ingest import Ingestor, RejectedMessageError
from neurant.channels.webchat import opinions
from neurant.channels.webchat.limits import Doing, VisitorLimits
from neurant.channels.webchat.open_streams import Lease, OpenStreams
from neurant.channels.webchat.proof import ProofIn, ProofNeededError, check_proof, make_challenge
from neurant.channels.webchat.stream import Position, StreamSource, visitor_company, visitor_stream
from neurant.channels.webchat.visitors import is_routing_id, open_session, visitor_from
from neurant.conversations.messages.schemas import ReactionIn
from neurant.core.body_bounds import ANYBODY_BYTES, check_members, check_query_size, limit_body
from neurant.core.client_address import UNKNOWN, place_of
from neurant.core.db.tenancy import Visitor, tenant
from neurant.core.errors import BadInputError, NotFoundError, UnauthenticatedError
from neurant.core.services import services_of
from neurant.core.text_types import Text
from neurant.texts import preferred_language

MOST_CHARACTERS = 4000
_PING_SECONDS = 15


class _VisitorRoute(APIRoute):
    """A public route; its body is bounded before it is parsed."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_visitor(request: Request) -> Response:
            limit_body(request, ANYBODY_BYTES)
            check_query_size(request)
            check_members(await request.body())
            return await handle(request)

        return handle_visitor


router = APIRouter(prefix="/chat", tags=["web chat"], route_class=_VisitorRoute)
Authorization = Annotated[
    str | None, Header(description="Bearer and the visitor's token from POST …/session")
]


def known_shape(routing_id: str) -> str:
    """Return the chat's id.

    Raises NotFoundError, without a query, for text that is never a chat's id.
    """
    if not is_routing_id(routing_id):
        raise NotFoundError("unknown_chat")
    return routing_id


RoutingId = Annotated[str, Depends(known_shape)]


class SessionIn(BaseModel):
    """The body that opens a session; it may be omitted."""

    proof: ProofIn | None = Field(
        default=None, description="The solution of a challenge; null: none was asked for"
    )


class SessionOut(BaseModel):
    """A visitor's new session. The token is shown only here."""

    token: str = Field(description="The bearer token; only its digest is stored")
    expires_at: str = Field(description="The end of the session, ISO 8601 with its offset")


class MessageIn(BaseModel):
    """A visitor's message."""

    client_id: UUID = Field(description="An id by the client; a repeated one is stored once")
    text: str = Field(description="The message, 1 to 4,000 characters")


class SatisfactionIn(BaseModel):
    """A visitor's rating of the conversation."""

    model_config = ConfigDict(extra="forbid")

    rating: Annotated[
        int, Field(strict=True, ge=1, le=5, description="1 is the lowest rating, 5 the highest")
    ]
    comment: Annotated[Text, Field(max_length=2000)] | None = Field(
        default=None, description="The visitor's own words; null: none were given"
    )


class MessageOut(BaseModel):
    """The place at which a message was stored."""

    conversation_id: UUID = Field(description="The conversation that holds the message")
    seq: int = Field(description="The number of the message in its conversation, from 1")
    duplicate: bool = Field(description="true: a message with this client_id was stored before")


def _doing(request: Request, routing_id: str, visitor: Visitor | None = None) -> Doing:
    client = request.client.host if request.client else UNKNOWN
    return Doing(place_of(client), routing_id, visitor.token_digest if visitor else None)


@router.post("/{routing_id}/session", status_code=201)
async def start_session(
    request: Request, routing_id: RoutingId, given: SessionIn | None = None
) -> SessionOut:
    """Open a session for a new visitor of this chat.

    Anybody may call it. Answers 201 with the visitor's token. Refuses 404 for an unknown chat, 422
    for a wrong or used proof, and 429 beyond the limits of the address, its network, the chat or
    the company; ``Retry-After`` says when to try again. While very many sessions are opened at
    once, the answer is 429 with the code ``visitors.proof_needed`` and a challenge in ``proof``:
    send its solution as ``proof``. For each index from 0 to ``searches`` - 1, ``numbers[index]`` is
    a number for which the SHA-256 of the text ``challenge:index:number`` begins with ``bits`` zero
    bits. A challenge is valid for five minutes, this chat and this address, and opens one session.
    """
    settings, doing = services_of(request).settings, _doing(request, routing_id)
    proof = None
    if given is not None and given.proof is not None:
        proof = check_proof(settings, given.proof, routing_id, doing.place.address)
    try:
        token, expires_at = await open_session(
            services_of(request).get(VisitorLimits), doing, proof
        )
    except ProofNeededError:
        raise ProofNeededError(make_challenge(settings, routing_id, doing.place.address)) from None
    return SessionOut(token=token, expires_at=expires_at.isoformat())


def _checked(text: str) -> str:
    if not is_storable(text):
        raise BadInputError("text_not_storable")
    if not text.strip():
        raise BadInputError("text_empty")
    if len(text) > MOST_CHARACTERS:
        raise BadInputError("text_too_long", most=MOST_CHARACTERS, length=len(text))
    return text.strip()


@router.post("/{routing_id}/messages")
async def send_message(
    request: Request, routing_id: RoutingId, message: MessageIn, authorization: Authorization = None
) -> MessageOut:
    """Store a visitor's message and answer after the commit.

    Requires the visitor's token. Answers 200 with the message's place. Refuses 401 for a missing or
    expired token, 404 for an unknown chat, 422 for a text that is empty, too long or not storable,
    and 429 beyond the limits of the session, address, network, chat or company, where the address
    or its network has used its share of the company's bot answers or new conversations
    (``visitors.share``), or where the company accepts no more new conversations in this hour
    (``visitors.full``); ``Retry-After`` says when to send it again. A refused message uses nothing
    of the company's plan.
    """
    visitor, content = visitor_from(authorization), _checked(message.text)
    limits = services_of(request).get(VisitorLimits)
    await limits.admit("message", _doing(request, routing_id, visitor), len(content))
    inbound = InboundMessage(
        routing_id=routing_id,
        channel="web",
        credential=visitor.token_digest,
        end_user_id="",  # the database reads it from the session
        end_user_name=None,
        external_id=str(message.client_id),
        message_type="text",
        content=content,
    )
    try:
        stored = await services_of(request).get(Ingestor).put(inbound)
    except RejectedMessageError:
        raise BadInputError("text_not_storable") from None
    if stored.outcome == "unknown":
        raise NotFoundError("unknown_chat")
    if stored.conversation_id is None or stored.seq is None:
        raise UnauthenticatedError("visitor_session_expired")
    return MessageOut(
        conversation_id=stored.conversation_id,
        seq=stored.seq,
        duplicate=stored.outcome == "duplicate",
    )


async def _admit_opinion(
    request: Request, routing_id: str, visitor: Visitor, comment: str | None
) -> None:
    limits = services_of(request).get(VisitorLimits)
    await limits.admit("opinion", _doing(request, routing_id, visitor), len(comment or ""))


@router.put("/{routing_id}/messages/{message_id}/reaction", status_code=204)
async def react(
    request: Request,
    routing_id: RoutingId,
    message_id: UUID,
    reaction: ReactionIn,
    authorization: Authorization = None,
) -> None:
    """Set the visitor's reaction to an answer of the bot; it replaces an earlier one.

    Requires the visitor's token. Answers 204. Refuses 401 for a missing or expired token, 404 for a
    message that is not the bot's answer in the visitor's conversation, and 429 beyond the limits,
    which are those of messages.
    """
    pool, visitor = services_of(request).pool, visitor_from(authorization)
    await _admit_opinion(request, routing_id, visitor, reaction.comment)
    await visitor_company(pool, visitor, routing_id)
    async with tenant(pool, visitor) as connection:
        await opinions.react(connection, visitor, message_id, reaction)


@router.delete("/{routing_id}/messages/{message_id}/reaction", status_code=204)
async def forget_reaction(
    request: Request, routing_id: RoutingId, message_id: UUID, authorization: Authorization = None
) -> None:
    """Remove the visitor's reaction to an answer, if there is one.

    Requires the visitor's token. Answers 204. Refuses 401 for a missing or expired token, and 429
    beyond the limits, which are those of messages.
    """
    pool, visitor = services_of(request).pool, visitor_from(authorization)
    await _admit_opinion(request, routing_id, visitor, None)
    await visitor_company(pool, visitor, routing_id)
    async with tenant(pool, visitor) as connection:
        await opinions.forget_reaction(connection, message_id)


@router.put("/{routing_id}/satisfaction", status_code=204)
async def rate(
    request: Request,
    routing_id: RoutingId,
    told: SatisfactionIn,
    authorization: Authorization = None,
) -> None:
    """Set the visitor's rating of the conversation; it replaces an earlier one.

    Requires the visitor's token. Answers 204. Refuses 401 for a missing or expired token, 404
    before the first message, and 429 beyond the limits, which are those of messages.
    """
    pool, visitor = services_of(request).pool, visitor_from(authorization)
    await _admit_opinion(request, routing_id, visitor, told.comment)
    await visitor_company(pool, visitor, routing_id)
    async with tenant(pool, visitor) as connection:
        await opinions.rate(connection, told.rating, told.comment)


class _CountedStream(EventSourceResponse):
    """An event stream that stops being counted when it ends, even before its first event."""

    def __init__(self, streams: OpenStreams, lease: Lease, events: AsyncIterator[object]) -> None:
        super().__init__(events, ping=_PING_SECONDS, headers={"cache-control": "no-store"})
        self._streams = streams
        self._lease = lease

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.close(self._lease)


@router.get("/{routing_id}/stream")
async def stream(
    request: Request,
    routing_id: RoutingId,
    authorization: Authorization = None,
    last_event_id: Annotated[
        str | None, Header(description="The id of the last event that the browser received")
    ] = None,
    accept_language: Annotated[
        str | None, Header(description="The languages for the system's own lines: es, en")
    ] = None,
) -> EventSourceResponse:
    """Stream the visitor's conversation as server-sent events.

    Requires the visitor's token. Answers 200 with ``message`` and ``state`` events; the stream
    resumes after ``Last-Event-ID``. Refuses 401 for a missing or expired token, and 429 where the
    session, address, network, chat or company has too many streams open or opens them too fast;
    ``Retry-After`` says when to try again.
    """
    visitor = visitor_from(authorization)
    state = services_of(request)
    streams = state.get(OpenStreams)
    lease = await streams.open(_doing(request, routing_id, visitor))
    events = visitor_stream(
        state.get(StreamSource),
        visitor,
        lease.company_id,
        Position.from_header(last_event_id),
        preferred_language(accept_language),
    )
    return _CountedStream(streams, lease, events)
