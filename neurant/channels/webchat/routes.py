"""The web chat over HTTP: a session, messages in, a stream out. The page is the console's."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Request
from pydantic import BaseModel, ConfigDict, Field
from sse_starlette import EventSourceResponse

from neurant.api.texts import Text
from neurant.channels.events import InboundMessage, is_storable
from neurant.channels.ingest import RejectedMessageError
from neurant.channels.webchat import opinions
from neurant.channels.webchat.stream import Position, visitor_company, visitor_stream
from neurant.channels.webchat.visitors import is_routing_id, open_session, visitor_from
from neurant.database.tenancy import tenant
from neurant.errors import BadInputError, NotFoundError, UnauthenticatedError
from neurant.messages.schemas import ReactionIn
from neurant.texts import preferred_language

MOST_CHARACTERS = 4000
_PING_SECONDS = 15

router = APIRouter(prefix="/chat", tags=["web chat"])
Authorization = Annotated[str | None, Header()]


def known_shape(routing_id: str) -> str:
    """A chat's id; one that cannot be any chat's is unknown without asking the database."""
    if not is_routing_id(routing_id):
        raise NotFoundError("unknown_chat")
    return routing_id


RoutingId = Annotated[str, Depends(known_shape)]


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


@router.post("/{routing_id}/session", status_code=201)
async def start_session(request: Request, routing_id: RoutingId) -> SessionOut:
    """A token for a new visitor of this chat."""
    token, expires_at = await open_session(request.app.state.pool, routing_id)
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
    """Take a visitor's message; the answer comes after it is stored."""
    visitor = visitor_from(authorization)
    inbound = InboundMessage(
        routing_id=routing_id,
        channel="web",
        credential=visitor.token_digest,
        end_user_id="",  # the database takes the visitor's own, from the session
        end_user_name=None,
        external_id=str(message.client_id),
        message_type="text",
        content=_checked(message.text),
    )
    try:
        stored = await request.app.state.ingestor.put(inbound)
    except RejectedMessageError:
        raise BadInputError("text_not_storable") from None
    if stored.outcome == "unknown":
        raise NotFoundError("unknown_chat")
    if stored.conversation_id is None:
        raise UnauthenticatedError("visitor_session_expired")
    return MessageOut(
        conversation_id=stored.conversation_id,
        seq=stored.seq,
        duplicate=stored.outcome == "duplicate",
    )


@router.put("/{routing_id}/messages/{message_id}/reaction", status_code=204)
async def react(
    request: Request,
    routing_id: RoutingId,
    message_id: UUID,
    reaction: ReactionIn,
    authorization: Authorization = None,
) -> None:
    """What the visitor thinks of an answer of the bot, instead of what they thought before."""
    pool, visitor = request.app.state.pool, visitor_from(authorization)
    await visitor_company(pool, visitor, routing_id)
    async with tenant(pool, visitor) as connection:
        await opinions.react(connection, visitor, message_id, reaction)


@router.delete("/{routing_id}/messages/{message_id}/reaction", status_code=204)
async def forget_reaction(
    request: Request, routing_id: RoutingId, message_id: UUID, authorization: Authorization = None
) -> None:
    """Take it back, if there is one."""
    pool, visitor = request.app.state.pool, visitor_from(authorization)
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
    """How content the visitor is with the conversation; the last word counts."""
    pool, visitor = request.app.state.pool, visitor_from(authorization)
    await visitor_company(pool, visitor, routing_id)
    async with tenant(pool, visitor) as connection:
        await opinions.rate(connection, told.rating, told.comment)


@router.get("/{routing_id}/stream")
async def stream(
    request: Request,
    routing_id: RoutingId,
    authorization: Authorization = None,
    last_event_id: Annotated[str | None, Header()] = None,
    accept_language: Annotated[str | None, Header()] = None,
) -> EventSourceResponse:
    """The visitor's conversation, live (server-sent events)."""
    visitor = visitor_from(authorization)
    state = request.app.state
    company_id = await visitor_company(state.pool, visitor, routing_id)
    events = visitor_stream(
        state.pool,
        state.hub,
        visitor,
        company_id,
        Position.from_header(last_event_id),
        preferred_language(accept_language),
    )
    return EventSourceResponse(events, ping=_PING_SECONDS, headers={"cache-control": "no-store"})
