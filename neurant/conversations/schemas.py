"""The request and response bodies of conversations."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from neurant.api.listing import ListQuery
from neurant.conversations.handoff.schemas import HitlSessionOut
from neurant.core.text_types import STORABLE, Text
from neurant.core.timestamps import Timestamp

Channel = Literal["whatsapp", "telegram", "slack", "web"]
Status = Literal["active", "resolved", "abandoned", "archived"]
Words = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S"), STORABLE]


ConversationId = Annotated[UUID, Path(description="The id of the conversation")]


class ConversationOut(BaseModel):
    """A conversation of an end user with a bot and with the staff who attend it."""

    id: UUID = Field(description="The id of the conversation")
    chatbot_id: UUID = Field(description="UUID of the bot that the conversation is with")
    channel: Channel = Field(description="The channel on which the end user writes")
    channel_account_id: UUID = Field(description="The id of the bot's account on that channel")
    contact_id: UUID | None = Field(description="The contact of the end user; null: there is none")
    end_user_id: str = Field(description="The channel's id of the end user")
    end_user_name: str | None = Field(description="The name that the channel gives; null: unknown")
    status: Status = Field(description="The state of the conversation")
    is_hitl_active: bool = Field(
        description="Whether a person attends the conversation, or it waits for one"
    )
    assigned_operator_id: UUID | None = Field(
        description="The user of the staff to whom it is assigned; null: nobody"
    )
    hitl_activated_at: datetime | None = Field(
        description="When the takeover was opened; null: there is none"
    )
    hitl_reason: str | None = Field(description="Why the takeover was opened; null: there is none")
    message_count: int = Field(description="How many messages are stored")
    bot_message_count: int = Field(description="How many messages are the bot's")
    human_message_count: int = Field(description="How many messages are the staff's")
    avg_response_time_ms: int | None = Field(
        description=(
            "Average time in which the bot produced an answer, in milliseconds; null: unknown"
        )
    )
    started_at: datetime = Field(description="When it started")
    last_message_at: datetime = Field(description="When its newest message was created")
    ended_at: datetime | None = Field(description="When it ended; null: it is open")
    session_duration_minutes: int | None = Field(
        description="From the start to the last message, in whole minutes; null: it is open"
    )
    satisfaction_rating: int | None = Field(description="The end user's rating, 1 to 5; null: none")


class ConversationDetailOut(ConversationOut):
    """A conversation with the fields that a list leaves out."""

    end_user_avatar: str | None = Field(
        description="The address of the end user's picture; null: none"
    )
    satisfaction_comment: str | None = Field(
        description="The end user's comment on the rating; null: none"
    )
    conversation_summary: str | None = Field(
        description="A summary of the conversation; null: none"
    )
    context_data: dict[str, Any] = Field(
        description="Facts that the conversation established, by name: name, branch, preference,"
        " request, and facts of an import"
    )
    hitl_session: HitlSessionOut | None = Field(
        default=None, description="The open takeover; null: there is none"
    )


class ConversationQuery(ListQuery):
    """The filters and the order of the list."""

    status: Status | None = Field(
        default=None, description="Only conversations in this state; omitted: all states"
    )
    channel: Channel | None = Field(
        default=None, description="Only conversations on this channel; omitted: all channels"
    )
    chatbot_id: UUID | None = Field(
        default=None, description="Only conversations with this bot; omitted: all bots"
    )
    is_hitl_active: bool | None = Field(
        default=None,
        description=(
            "Only conversations with (true) or without (false) an open takeover; omitted: both"
        ),
    )
    assigned_operator_id: UUID | None = Field(
        default=None, description="Only conversations assigned to this user; omitted: all"
    )
    contact_id: UUID | None = Field(
        default=None, description="Only conversations of this contact; omitted: all"
    )
    started_after: Timestamp | None = Field(
        default=None, description="Only conversations that started at this time or later"
    )
    started_before: Timestamp | None = Field(
        default=None, description="Only conversations that started before this time"
    )
    q: Words | None = Field(
        default=None,
        description=(
            "Words of its messages or of the end user's name; the last word may be incomplete"
        ),
    )
    sort: Literal["-last_message_at", "last_message_at", "-started_at", "started_at"] = Field(
        default="-last_message_at", description="The field to sort by; ``-`` means descending"
    )


class ArchivedQuery(ListQuery):
    """The filters and the order of the archive."""

    channel: Channel | None = Field(
        default=None, description="Only conversations on this channel; omitted: all channels"
    )
    chatbot_id: UUID | None = Field(
        default=None, description="Only conversations with this bot; omitted: all bots"
    )
    contact_id: UUID | None = Field(
        default=None, description="Only conversations of this contact; omitted: all"
    )
    started_after: Timestamp | None = Field(
        default=None, description="Only conversations that started at this time or later"
    )
    started_before: Timestamp | None = Field(
        default=None, description="Only conversations that started before this time"
    )
    sort: Literal["-started_at", "started_at"] = Field(
        default="-started_at", description="The field to sort by; ``-`` means descending"
    )


class ResolveIn(BaseModel):
    """The end of a takeover."""

    model_config = ConfigDict(extra="forbid")

    notes: Annotated[Text, Field(max_length=2000)] | None = Field(
        default=None,
        description="Notes for the next person who attends the conversation; null: none",
    )


class AssignIn(BaseModel):
    """The assignment of a conversation."""

    model_config = ConfigDict(extra="forbid")

    user_id: UUID = Field(
        description="The user who is to attend it, an active colleague who serves the bot"
    )
