"""The web chat over HTTP: a session, messages in, a stream out. The page is the console's."""

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
    """A route that anybody may call: its body is bounded before it is parsed."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_visitor(request: Request) -> Response:
            limit_body(request, ANYBODY_BYTES)
            check_query_size(request)
            check_members(await request.body())
            return await handle(request)

        return handle_visitor


router = APIRouter(prefix="/chat", tags=["web chat"], route_class=_VisitorRoute)
Authorization = Annotated[str | None, Header()]


def known_shape(routing_id: str) -> str:
    """A chat's id; one that cannot be any chat's is unknown without asking the database."""
    if not is_routing_id(routing_id):
        raise NotFoundError("unknown_chat")
    return routing_id


RoutingId = Annotated[str, Depends(known_shape)]


class SessionIn(BaseModel):
    """What opening a session may bring: the solution of a challenge that was given before."""

    proof: ProofIn | None = None


class SessionOut(BaseModel):
    """A visitor's token; it is shown once and only its digest is kept."""

    token: str
    expires_at: str


class MessageIn(BaseModel):
    """A visitor's message. The same ``client_id`` again is the same message."""

    client_id: UUID
    text: str


class SatisfactionIn(BaseModel):
    """How content a visitor is: 1 not at all, 5 fully."""

    model_config = ConfigDict(extra="forbid")

    rating: Annotated[int, Field(strict=True, ge=1, le=5)]
    comment: Annotated[Text, Field(max_length=2000)] | None = None


class MessageOut(BaseModel):
    """Where the message stands."""

    conversation_id: UUID
    seq: int
    duplicate: bool


def _doing(request: Request, routing_id: str, visitor: Visitor | None = None) -> Doing:
    client = request.client.host if request.client else UNKNOWN
    return Doing(place_of(client), routing_id, visitor.token_digest if visitor else None)


@router.post("/{routing_id}/session", status_code=201)
async def start_session(
    request: Request, routing_id: RoutingId, given: SessionIn | None = None
) -> SessionOut:
    """A token for a new visitor of this chat, for anybody.

    429 beyond the limits of the address, its network, the chat or the company; ``Retry-After`` says
    when to try again. While very many sessions are opened at once, the answer is 429 with the code
    ``visitors.proof_needed`` and a challenge in ``proof``: send its solution as ``proof``. For
    each index from 0 to ``searches`` - 1, ``numbers[index]`` is a number for which the SHA-256 of
    the text ``challenge:index:number`` begins with ``bits`` zero bits. A challenge is good for five
    minutes, this chat and this address, and opens one session.
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
    """Take a visitor's message; the answer comes after it is stored.

    429 beyond the limits of the session, address, network, chat or company, where the address or
    its network has used its share of the company's bot answers or new conversations
    (``visitors.share``), and where the company takes no more new conversations in this hour
    (``visitors.full``); ``Retry-After`` says when to send it again. A message that was refused
    used nothing of the company's plan.
    """
    visitor, content = visitor_from(authorization), _checked(message.text)
    limits = services_of(request).get(VisitorLimits)
    await limits.admit("message", _doing(request, routing_id, visitor), len(content))
    inbound = InboundMessage(
        routing_id=routing_id,
        channel="web",
        credential=visitor.token_digest,
        end_user_id="",  # the database takes the visitor's own, from the session
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
    """What the visitor thinks of an answer of the bot, instead of what they thought before.

    It counts against the same limits as a message: 429 beyond them.
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
    """Take it back, if there is one. It counts against the same limits as a message."""
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
    """How content the visitor is with the conversation; the last word counts.

    It counts against the same limits as a message: 429 beyond them.
    """
    pool, visitor = services_of(request).pool, visitor_from(authorization)
    await _admit_opinion(request, routing_id, visitor, told.comment)
    await visitor_company(pool, visitor, routing_id)
    async with tenant(pool, visitor) as connection:
        await opinions.rate(connection, told.rating, told.comment)


class _CountedStream(EventSourceResponse):
    """A stream that is given back when it ends, also if it ends before its first event."""

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
    last_event_id: Annotated[str | None, Header()] = None,
    accept_language: Annotated[str | None, Header()] = None,
) -> EventSourceResponse:
    """The visitor's conversation, live (server-sent events).

    429 where the session, address, network, chat or company has too many streams open, or opens
    them too fast; ``Retry-After`` says when to try again.
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
