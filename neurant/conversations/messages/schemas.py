"""The request and response bodies of messages and reactions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from neurant.api.listing import ListQuery
from neurant.core.text_types import STORABLE, Text

Sender = Literal["bot", "human", "end_user", "system"]
MessageType = Literal["text", "image", "audio", "video", "document", "location", "contact"]
MessageStatus = Literal["pending", "sent", "delivered", "read", "failed", "unknown", "cancelled"]
ReactionType = Literal["thumbs_up", "thumbs_down", "helpful", "not_helpful"]
Content = Annotated[str, Field(min_length=1, max_length=20_000, pattern=r"\S"), STORABLE]


MessageId = Annotated[UUID, Path(description="The id of the message")]


class MessageOut(BaseModel):
    """A message of a conversation.

    The content of a ``system`` message is a key, such as ``hitl_taken``.
    """

    id: UUID = Field(description="The id of the message")
    conversation_id: UUID = Field(description="The conversation of the message")
    chatbot_id: UUID = Field(description="The bot of the conversation")
    seq: int = Field(
        description="The message's position in its conversation; it rises with each message"
    )
    sender_type: Sender = Field(
        description="Who sent it: the bot, a person of the staff, the end user or the system"
    )
    sender_id: UUID | None = Field(
        description="The user of the staff who wrote it; null: another sender"
    )
    message_type: MessageType = Field(description="The kind of content")
    content: str = Field(
        description="The text; for a ``system`` message, a key of the text catalogue"
    )
    media_url: str | None = Field(description="The address of the media file; null: none")
    media_type: str | None = Field(description="The media type (MIME) of the file; null: none")
    status: MessageStatus = Field(
        description="The state of the delivery; ``unknown``: it may have arrived"
    )
    delivered_at: datetime | None = Field(
        description="When it was delivered; null: it was not, or it is unknown"
    )
    read_at: datetime | None = Field(
        description="When it was read; null: it was not, or it is unknown"
    )
    knowledge_sources: list[dict[str, Any]] = Field(
        description="The passages of documents on which the bot's answer is based"
    )
    used_knowledge_base: bool = Field(
        description="Whether the text comes from the company's documents"
    )
    confidence_score: float | None = Field(
        description=(
            "Probability from 0 to 1 that the best passage answers the question, also where the "
            "bot did not answer; null: nothing was searched, or unknown"
        )
    )
    processing_time_ms: int | None = Field(
        description=(
            "How long the bot took to produce the answer, in milliseconds; null: not the bot's, "
            "or unknown"
        )
    )
    tokens_used: int | None = Field(
        description="Tokens of a language model that the answer used; null: none or unknown"
    )
    model_used: str | None = Field(
        description=(
            "What produced the bot's text: ``extractive`` (a quote), ``phrase`` (a fixed phrase) "
            "or the name of a language model; null: not the bot's, or unknown"
        )
    )
    created_at: datetime = Field(description="When it was created")


class MessageDetailOut(MessageOut):
    """A message with the reason why its delivery failed."""

    delivery_error: str | None = Field(
        description="The channel's error when it refused the message; null: none"
    )


class MessageIn(BaseModel):
    """A reply of the staff, which takes the conversation over from the bot."""

    model_config = ConfigDict(extra="forbid")

    id: UUID | None = Field(
        default=None,
        description=(
            "The id of the new message, chosen by the client: a repeated request with it stores "
            "no second message; null: the server chooses one"
        ),
    )
    content: Content = Field(description="The text of the reply")


class MessageQuery(ListQuery):
    """The order of the messages."""

    sort: Literal["seq", "-seq"] = Field(
        default="seq", description="``seq``: the oldest first; ``-seq``: the newest first"
    )


class ReactionOut(BaseModel):
    """A reaction to an answer of the bot."""

    id: UUID = Field(description="The id of the reaction")
    message_id: UUID = Field(description="UUID of the message that this belongs to")
    reaction_type: ReactionType = Field(description="The kind of reaction")
    comment: str | None = Field(description="A comment on the reaction; null: none")
    reacted_by_user_id: UUID | None = Field(
        description="The user of the staff who reacted; null: the end user"
    )
    reacted_by_end_user: bool = Field(description="Whether the end user reacted")
    created_at: datetime = Field(description="When the reaction was given")


class ReactionIn(BaseModel):
    """The caller's reaction; it replaces an earlier one."""

    model_config = ConfigDict(extra="forbid")

    reaction_type: ReactionType = Field(description="The kind of reaction")
    comment: Annotated[Text, Field(max_length=2000)] | None = Field(
        default=None, description="A comment on the reaction; null: none"
    )


class ReactionQuery(ListQuery):
    """The order of the reactions."""

    sort: Literal["created_at", "-created_at"] = Field(
        default="created_at", description="The field to sort by; ``-`` means descending"
    )
