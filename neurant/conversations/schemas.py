"""Conversations on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from neurant.api.listing import ListQuery
from neurant.conversations.handoff.schemas import HitlSessionOut
from neurant.core.text_types import STORABLE, Text
from neurant.core.timestamps import Moment

Channel = Literal["whatsapp", "telegram", "slack", "web"]
Status = Literal["active", "resolved", "abandoned", "archived"]
Words = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S"), STORABLE]


class ConversationOut(BaseModel):
    """A conversation of an end user with a bot, and with whoever took it over.

    Times are in milliseconds or minutes as their names say; counters count stored messages.
    """

    id: UUID
    chatbot_id: UUID
    channel: Channel
    channel_account_id: UUID
    contact_id: UUID | None
    end_user_id: str = Field(description="As the channel calls the end user")
    end_user_name: str | None
    status: Status
    is_hitl_active: bool = Field(description="A person has it, or it waits for one")
    assigned_operator_id: UUID | None
    hitl_activated_at: datetime | None
    hitl_reason: str | None
    message_count: int
    bot_message_count: int
    human_message_count: int
    avg_response_time_ms: int | None = Field(description="Of the bot's answers")
    started_at: datetime
    last_message_at: datetime
    ended_at: datetime | None
    session_duration_minutes: int | None
    satisfaction_rating: int | None = Field(description="1 to 5, by the end user")


class ConversationDetailOut(ConversationOut):
    """One conversation, with what a list leaves out."""

    end_user_avatar: str | None
    satisfaction_comment: str | None
    conversation_summary: str | None
    context_data: dict[str, Any]
    hitl_session: HitlSessionOut | None = Field(default=None, description="The open one")


class ConversationQuery(ListQuery):
    """The filters and sorts of the list."""

    status: Status | None = None
    channel: Channel | None = None
    chatbot_id: UUID | None = None
    is_hitl_active: bool | None = None
    assigned_operator_id: UUID | None = None
    contact_id: UUID | None = None
    started_after: Moment | None = Field(default=None, description="At this moment or later")
    started_before: Moment | None = None
    q: Words | None = Field(
        default=None,
        description="Words of its messages, or of the end user; the last one may be unfinished",
    )
    sort: Literal["-last_message_at", "last_message_at", "-started_at", "started_at"] = (
        "-last_message_at"
    )


class ArchivedQuery(ListQuery):
    """The filters and sorts of the archive."""

    channel: Channel | None = None
    chatbot_id: UUID | None = None
    contact_id: UUID | None = None
    started_after: Moment | None = Field(default=None, description="At this moment or later")
    started_before: Moment | None = None
    sort: Literal["-started_at", "started_at"] = "-started_at"


class ResolveIn(BaseModel):
    """What the next person should know."""

    model_config = ConfigDict(extra="forbid")

    notes: Annotated[Text, Field(max_length=2000)] | None = None


class AssignIn(BaseModel):
    """Who is to attend it: somebody who serves the bot."""

    model_config = ConfigDict(extra="forbid")

    user_id: UUID
