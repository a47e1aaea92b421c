"""Messages and reactions on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from neurant.api.listing import ListQuery
from neurant.core.text_types import STORABLE, Text

Sender = Literal["bot", "human", "end_user", "system"]
MessageType = Literal["text", "image", "audio", "video", "document", "location", "contact"]
MessageStatus = Literal["pending", "sent", "delivered", "read", "failed", "unknown", "cancelled"]
ReactionType = Literal["thumbs_up", "thumbs_down", "helpful", "not_helpful"]
Content = Annotated[str, Field(min_length=1, max_length=20_000, pattern=r"\S"), STORABLE]


class MessageOut(BaseModel):
    """A message, in the place (``seq``) that it has in its conversation.

    The content of a ``system`` message is a key, such as ``hitl_taken``. ``unknown``: it may have
    arrived.
    """

    id: UUID
    conversation_id: UUID
    chatbot_id: UUID
    seq: int
    sender_type: Sender
    sender_id: UUID | None = Field(description="The person of the staff who wrote it")
    message_type: MessageType
    content: str
    media_url: str | None
    media_type: str | None
    status: MessageStatus
    delivered_at: datetime | None
    read_at: datetime | None
    knowledge_sources: list[dict[str, Any]] = Field(description="What a bot's answer is based on")
    confidence_score: float | None
    processing_time_ms: int | None
    tokens_used: int | None
    model_used: str | None
    created_at: datetime


class MessageDetailOut(MessageOut):
    """One message, with what became of its delivery."""

    delivery_error: str | None = Field(description="What the channel said when it refused it")


class MessageIn(BaseModel):
    """An answer of a person, which takes the conversation.

    With an ``id`` of one's own, sent again it is the same message.
    """

    model_config = ConfigDict(extra="forbid")

    id: UUID | None = None
    content: Content


class MessageQuery(ListQuery):
    """From the first to the last, or the last first."""

    sort: Literal["seq", "-seq"] = "seq"


class ReactionOut(BaseModel):
    """What somebody thinks of an answer of the bot. By nobody of the staff: by the end user."""

    id: UUID
    message_id: UUID
    reaction_type: ReactionType
    comment: str | None
    reacted_by_user_id: UUID | None
    reacted_by_end_user: bool
    created_at: datetime


class ReactionIn(BaseModel):
    """One's reaction; it takes the place of the one before."""

    model_config = ConfigDict(extra="forbid")

    reaction_type: ReactionType
    comment: Annotated[Text, Field(max_length=2000)] | None = None


class ReactionQuery(ListQuery):
    """In the order in which people reacted."""

    sort: Literal["created_at", "-created_at"] = "created_at"
