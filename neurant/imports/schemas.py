"""The request and response bodies of the import of past conversations."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import Path
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from neurant.core.text_types import STORABLE, Text
from neurant.core.timestamps import Timestamp

MAX_CONVERSATIONS = 1_000
MAX_MESSAGES = 10_000
MAX_BYTES = 20 * 1024 * 1024
ExternalId = Annotated[Text, Field(min_length=1, max_length=255)]
Link = Annotated[str, Field(pattern=r"^https?://[!-~]{1,1990}$"), STORABLE]


def _whole(value: object) -> object:
    """Convert a float such as 3.0 to the integer 3 (JSON Schema, 4.2.3)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Stars = Annotated[int, Field(strict=True, ge=1, le=5), BeforeValidator(_whole)]
Outcome = Literal["imported", "extended", "unchanged", "refused"]
Reason = Literal[
    "repeated",
    "no_channel",
    "erased",
    "other_contact",
    "repeated_message",
    "in_the_future",
    "out_of_order",
    "unknown_sender",
    "empty_text",
    "archived",
    "too_early",
]


ChatbotId = Annotated[UUID, Path(description="The id of the bot")]


class ImportedMessage(BaseModel):
    """A message of a past conversation."""

    model_config = ConfigDict(extra="forbid")

    external_id: ExternalId = Field(
        description="The message's id in the other system, unique in its conversation"
    )
    sender: Literal["end_user", "bot", "human"] = Field(
        description="Who wrote the message: the end user, the bot or a member of the staff"
    )
    sender_id: UUID | None = Field(
        default=None, description="For ``human``: the id of the user who wrote it; null: unknown"
    )
    type: Literal["text", "image", "audio", "video", "document", "location", "contact"] = Field(
        default="text", description="The kind of content"
    )
    content: Annotated[Text, Field(max_length=20_000)] = Field(
        default="", description="The text; required for a message of type ``text``"
    )
    media_url: Link | None = Field(
        default=None, description="The address of the media file; null: none"
    )
    media_type: Annotated[Text, Field(max_length=50)] | None = Field(
        default=None, description="The media type (MIME) of the file; null: unknown or none"
    )
    sent_at: Timestamp = Field(description="When the message was sent")


class ImportedConversation(BaseModel):
    """A closed conversation. It lasted from its first message to its last."""

    model_config = ConfigDict(extra="forbid")

    external_id: ExternalId = Field(
        description="The conversation's id in the other system, unique for the bot"
    )
    channel: Literal["whatsapp", "telegram", "slack", "web"] = Field(
        description="A channel of which the bot has an account, connected or not"
    )
    end_user_id: Annotated[str, Field(min_length=1, max_length=255, pattern=r"\S"), STORABLE] = (
        Field(description="The channel's id of the end user, by which contacts are recognized")
    )
    end_user_name: Annotated[Text, Field(max_length=255)] | None = Field(
        default=None, description="The end user's name; null: unknown"
    )
    end_user_avatar: Link | None = Field(
        default=None, description="The address of the end user's picture; null: none"
    )
    status: Literal["resolved", "abandoned"] = Field(
        default="resolved", description="How the conversation ended"
    )
    satisfaction_rating: Stars | None = Field(
        default=None, description="The end user's rating, 1 to 5; null: none"
    )
    satisfaction_comment: Annotated[Text, Field(max_length=2000)] | None = Field(
        default=None, description="The end user's comment on the rating; null: none"
    )
    summary: Annotated[Text, Field(max_length=10_000)] | None = Field(
        default=None, description="A summary of the conversation; null: none"
    )
    context: dict[
        Annotated[Text, Field(min_length=1, max_length=100)],
        Annotated[Text, Field(max_length=1000)],
    ] = Field(
        default={}, max_length=50, description="Further facts about the conversation, by name"
    )
    # Validation stops at the first invalid message, because ten thousand may be invalid.
    messages: list[ImportedMessage] = Field(
        min_length=1,
        max_length=MAX_MESSAGES,
        fail_fast=True,
        description="The messages in the order in which they were sent",
    )


class ImportIn(BaseModel):
    """A batch of conversations to import, with at most 10,000 messages in total."""

    model_config = ConfigDict(extra="forbid")

    conversations: list[ImportedConversation] = Field(
        min_length=1, max_length=MAX_CONVERSATIONS, description="The conversations to import"
    )


class ImportedOut(BaseModel):
    """The result for one conversation."""

    external_id: str = Field(description="The ``external_id`` that the request gave")
    outcome: Outcome = Field(
        description=(
            "``imported``: stored; ``extended``: new messages were added at its end; "
            "``unchanged``: it was already stored; ``refused``: nothing of it was stored"
        )
    )
    reason: Reason | None = Field(
        description="Why it was refused, as a stable code; null: it was not refused"
    )
    detail: str | None = Field(
        description=(
            "Why it was refused, as a sentence in the language of Accept-Language; null: it was "
            "not refused"
        )
    )
    conversation_id: UUID | None = Field(
        description="The id of the stored conversation; null: none is stored"
    )
    messages_added: int = Field(description="How many of its messages were stored by this request")


class ImportOut(BaseModel):
    """The result of an import: counts, and one entry for each conversation."""

    imported: int = Field(description="How many conversations were stored")
    extended: int = Field(description="How many stored conversations received new messages")
    unchanged: int = Field(description="How many conversations were already stored")
    refused: int = Field(description="How many conversations were refused")
    messages_added: int = Field(description="How many messages were stored in total")
    conversations: list[ImportedOut] = Field(
        description="The result for each conversation of the request"
    )
