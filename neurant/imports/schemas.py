"""Past conversations on the wire."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from neurant.core.text_types import STORABLE, Text
from neurant.core.timestamps import Moment

MOST_CONVERSATIONS = 1_000
MOST_MESSAGES = 10_000
MOST_BYTES = 20 * 1024 * 1024
ExternalId = Annotated[Text, Field(min_length=1, max_length=255)]
Link = Annotated[str, Field(pattern=r"^https?://[!-~]{1,1990}$"), STORABLE]


def _whole(value: object) -> object:
    """3.0 is the integer 3 (JSON Schema, 4.2.3)."""
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


class ImportedMessage(BaseModel):
    """A message of the past. ``external_id`` is unique in its conversation."""

    model_config = ConfigDict(extra="forbid")

    external_id: ExternalId
    sender: Literal["end_user", "bot", "human"]
    sender_id: UUID | None = Field(default=None, description="Of human: the person, if known")
    type: Literal["text", "image", "audio", "video", "document", "location", "contact"] = "text"
    content: Annotated[Text, Field(max_length=20_000)] = Field(
        default="", description="Not empty for a text"
    )
    media_url: Link | None = None
    media_type: Annotated[Text, Field(max_length=50)] | None = None
    sent_at: Moment


class ImportedConversation(BaseModel):
    """A conversation that is over, its messages in the order in which they were said.

    ``external_id`` is unique for the bot. It lasted from its first message to its last.
    """

    model_config = ConfigDict(extra="forbid")

    external_id: ExternalId
    channel: Literal["whatsapp", "telegram", "slack", "web"] = Field(
        description="One that the bot has an account of, connected or not"
    )
    end_user_id: Annotated[str, Field(min_length=1, max_length=255, pattern=r"\S"), STORABLE] = (
        Field(description="As the channel calls them: it is by this that a contact is known again")
    )
    end_user_name: Annotated[Text, Field(max_length=255)] | None = None
    end_user_avatar: Link | None = None
    status: Literal["resolved", "abandoned"] = "resolved"
    satisfaction_rating: Stars | None = None
    satisfaction_comment: Annotated[Text, Field(max_length=2000)] | None = None
    summary: Annotated[Text, Field(max_length=10_000)] | None = None
    context: dict[
        Annotated[Text, Field(min_length=1, max_length=100)],
        Annotated[Text, Field(max_length=1000)],
    ] = Field(default={}, max_length=50, description="Whatever else was known, by name")
    # Validation stops at the first wrong message: ten thousand may be wrong.
    messages: list[ImportedMessage] = Field(min_length=1, max_length=MOST_MESSAGES, fail_fast=True)


class ImportIn(BaseModel):
    """What is imported at once; all messages together are at most 10,000."""

    model_config = ConfigDict(extra="forbid")

    conversations: list[ImportedConversation] = Field(min_length=1, max_length=MOST_CONVERSATIONS)


class ImportedOut(BaseModel):
    """What became of one of them, wholly."""

    external_id: str
    outcome: Outcome
    reason: Reason | None
    detail: str | None = Field(description="The reason, for a person")
    conversation_id: UUID | None
    messages_added: int


class ImportOut(BaseModel):
    """What became of all of them; those that were not refused are stored, or were before."""

    imported: int
    extended: int
    unchanged: int
    refused: int
    messages_added: int
    conversations: list[ImportedOut]
