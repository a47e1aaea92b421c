"""The endpoints of the web chat: a session, incoming messages, and a stream. The console
serves the page.
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
from neurant.channels.webchat import feedback
from neurant.channels.webchat.limits import Doing, VisitorLimits
from neurant.channels.webchat.open_streams import Lease, OpenStreams
from neurant.channels.webchat.proof_of_work import (
    ProofIn,
    ProofNeededError,
    check_proof,
    make_challenge,
)
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

MAX_CHARACTERS = 4000
_PING_SECONDS = 15


class _VisitorRoute(APIRoute):
    """A route without authentication of staff: its body is bounded before it is parsed."""

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
    str | None, Header(description="Bearer and the token of POST /chat/{routing_id}/session")
]


def known_shape(routing_id: str) -> str:
    """Return the id of a chat; an id that no chat can have is unknown without a query."""
    if not is_routing_id(routing_id):
        raise NotFoundError("unknown_chat")
    return routing_id


RoutingId = Annotated[str, Depends(known_shape)]


class SessionIn(BaseModel):
    """The solution of a challenge that was given before."""

    proof: ProofIn | None = Field(
        default=None, description="Solution of the challenge; null: none was given"
    )


class SessionOut(BaseModel):
    """A visitor's token; it is shown once and only its digest is stored."""

    token: str = Field(description="Bearer token of the visitor")
    expires_at: str = Field(description="When the session expires, as an ISO 8601 time")


class MessageIn(BaseModel):
    """A visitor's message. A message with the same ``client_id`` is stored once."""

    client_id: UUID = Field(description="UUID that the client makes for this message")
    text: str = Field(description="Text of 1 to 4000 characters")


class SatisfactionIn(BaseModel):
    """The rating of a conversation by its visitor."""

    model_config = ConfigDict(extra="forbid")

    rating: Annotated[int, Field(strict=True, ge=1, le=5)] = Field(
        description="From 1 (not satisfied at all) to 5 (fully satisfied)"
    )
    comment: Annotated[Text, Field(max_length=2000)] | None = Field(
        default=None, description="Comment of the visitor; null: none"
    )


class MessageOut(BaseModel):
    """The place of a stored message."""

    conversation_id: UUID = Field(description="UUID of the conversation")
    seq: int = Field(description="Number of the message in the conversation")
    duplicate: bool = Field(description="Whether the message was stored by an earlier request")


def _doing(request: Request, routing_id: str, visitor: Visitor | None = None) -> Doing:
    client = request.client.host if request.client else UNKNOWN
    return Doing(place_of(client), routing_id, visitor.token_digest if visitor else None)


@router.post("/{routing_id}/session", status_code=201)
async def start_session(
    request: Request, routing_id: RoutingId, given: SessionIn | None = None
) -> SessionOut:
    """Open a session for a new visitor of a web chat.

    While very many sessions are opened at once, the answer is 429 with the code
    ``visitors.proof_needed`` and a challenge in ``proof``: send its solution as ``proof``. For each
    index from 0 to ``searches`` - 1, ``numbers[index]`` is a number for which the SHA-256 of the
    text ``challenge:index:number`` begins with ``bits`` zero bits. A challenge is valid for five
    minutes, this chat and this address, and opens one session.

    Who may call it: everybody, without a credential.

    Refuses: 422 ``visitors.proof_wrong`` or ``visitors.proof_used`` if the solution is not valid;
    429 ``visitors.too_many_chats`` or ``visitors.proof_needed`` beyond the limits of the address,
    its network, the chat or the company; ``Retry-After`` says when to try again.
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
    if len(text) > MAX_CHARACTERS:
        raise BadInputError("text_too_long", most=MAX_CHARACTERS, length=len(text))
    return text.strip()


@router.post("/{routing_id}/messages")
async def send_message(
    request: Request, routing_id: RoutingId, message: MessageIn, authorization: Authorization = None
) -> MessageOut:
    """Store a message of the visitor.

    The answer is sent after the message is stored. A refused message uses nothing of the company's
    plan.

    Refuses: 401 ``visitor_session_missing`` or ``visitor_session_expired`` if the token is missing
    or expired; 422 ``text_empty``, ``text_too_long`` or ``text_not_storable`` if the text is not
    acceptable; 429 ``visitors.too_much_written``, ``visitors.share`` or ``visitors.full`` beyond
    the limits of the session, address, network, chat or company; ``Retry-After`` says when to send
    it again.
    """
    visitor, content = visitor_from(authorization), _checked(message.text)
    limits = services_of(request).get(VisitorLimits)
    await limits.admit("message", _doing(request, routing_id, visitor), len(content))
    inbound = InboundMessage(
        routing_id=routing_id,
        channel="web",
        credential=visitor.token_digest,
        end_user_id="",  # the database sets it from the visitor's session
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
    """Set the visitor's reaction to an answer of the bot, in place of the previous one.

    Refuses: 401 ``visitor_session_missing`` or ``visitor_session_expired`` if the token is missing
    or expired; 404 ``not_found`` if the message is no answer in the visitor's conversation; 429
    ``visitors.too_much_written`` beyond the limits, which are shared with messages.
    """
    pool, visitor = services_of(request).pool, visitor_from(authorization)
    await _admit_opinion(request, routing_id, visitor, reaction.comment)
    await visitor_company(pool, visitor, routing_id)
    async with tenant(pool, visitor) as connection:
        await feedback.react(connection, visitor, message_id, reaction)


@router.delete("/{routing_id}/messages/{message_id}/reaction", status_code=204)
async def forget_reaction(
    request: Request, routing_id: RoutingId, message_id: UUID, authorization: Authorization = None
) -> None:
    """Remove the visitor's reaction to an answer of the bot, if there is one.

    Refuses: 401 ``visitor_session_missing`` or ``visitor_session_expired`` if the token is missing
    or expired; 429 ``visitors.too_much_written`` beyond the limits, which are shared with messages.
    """
    pool, visitor = services_of(request).pool, visitor_from(authorization)
    await _admit_opinion(request, routing_id, visitor, None)
    await visitor_company(pool, visitor, routing_id)
    async with tenant(pool, visitor) as connection:
        await feedback.forget_reaction(connection, message_id)


@router.put("/{routing_id}/satisfaction", status_code=204)
async def rate(
    request: Request,
    routing_id: RoutingId,
    told: SatisfactionIn,
    authorization: Authorization = None,
) -> None:
    """Rate the conversation of the visitor; the last rating counts.

    Refuses: 401 ``visitor_session_missing`` or ``visitor_session_expired`` if the token is missing
    or expired; 404 ``not_found`` if the visitor has no conversation; 429
    ``visitors.too_much_written`` beyond the limits, which are shared with messages.
    """
    pool, visitor = services_of(request).pool, visitor_from(authorization)
    await _admit_opinion(request, routing_id, visitor, told.comment)
    await visitor_company(pool, visitor, routing_id)
    async with tenant(pool, visitor) as connection:
        await feedback.rate(connection, told.rating, told.comment)


class _CountedStream(EventSourceResponse):
    """A stream that releases its slot when it ends, even before its first event."""

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
        str | None, Header(description="Id of the last received event, to continue after it")
    ] = None,
    accept_language: Annotated[
        str | None, Header(description="Languages that the visitor reads, for system notices")
    ] = None,
) -> EventSourceResponse:
    """Stream the conversation of the visitor as server-sent events.

    Refuses: 401 ``visitor_session_missing`` or ``visitor_session_expired`` if the token is missing
    or expired; 429 ``visitors.too_many_streams`` if too many streams of the session, address,
    network, chat or company are open or are opened too fast; ``Retry-After`` says when to try
    again.
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
