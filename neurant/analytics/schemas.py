"""The query parameters and response bodies of statistics and system metrics."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from neurant.api.listing import ListQuery
from neurant.core.timestamps import Date, Timestamp

MetricType = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]


class DayOut(BaseModel):
    """The statistics of a bot, or of the whole company, for one day."""

    id: UUID = Field(description="The id of the row")
    chatbot_id: UUID | None = Field(description="The bot; null: the whole company")
    date: Annotated[date, Field(description="The day in the company's time zone")]
    total_messages: int = Field(
        description=(
            "Messages created on that day: the bot's, the staff's, end users' and system messages"
        )
    )
    bot_messages: int = Field(description="Number of messages that the bot sent")
    human_messages: int = Field(description="Messages of the staff")
    end_user_messages: int = Field(description="Messages of end users")
    new_conversations: int = Field(description="Conversations that started on that day")
    active_conversations: int = Field(
        description="Conversations with at least one message on that day"
    )
    resolved_conversations: int = Field(
        description="Conversations that ended on that day and were not abandoned"
    )
    avg_conversation_duration_minutes: float | None = Field(
        description=(
            "Average duration, in minutes, of the conversations that ended on that day; null: "
            "none ended"
        )
    )
    hitl_escalations: int = Field(description="Takeovers by people that were opened on that day")
    hitl_resolution_time_minutes: float | None = Field(
        description=(
            "Average time from opening to end, in minutes, of the takeovers that were resolved on "
            "that day; null: none"
        )
    )
    hitl_satisfaction_avg: float | None = Field(
        description="Average rating, 1 to 5, of the conversations that had a takeover; null: none"
    )
    avg_response_time_ms: int | None = Field(
        description=(
            "Average time in which the bot produced an answer, in milliseconds; null: unknown"
        )
    )
    total_tokens_used: int = Field(
        description="Tokens of language models that the day's messages used"
    )
    satisfaction_ratings: int = Field(description="Conversations with a rating of the end user")
    satisfaction_avg: float | None = Field(
        description="Average rating, 1 to 5; null: there is no rating"
    )
    thumbs_up: int = Field(description="Reactions ``thumbs_up`` given on that day")
    thumbs_down: int = Field(description="Reactions ``thumbs_down`` given on that day")
    knowledge_queries: int = Field(
        description=(
            "Searches in the documents; searches outside of a conversation count for the company "
            "only"
        )
    )
    knowledge_hits: int = Field(description="Searches whose results were used for an answer")
    knowledge_hit_rate: float | None = Field(
        description=(
            "``knowledge_hits`` in per cent of ``knowledge_queries``; null: there was no search"
        )
    )


class Span(BaseModel):
    """A range of whole days that includes both ends."""

    model_config = ConfigDict(extra="forbid")

    since: Date | None = Field(default=None, description="The first day; omitted: no lower bound")
    until: Date | None = Field(default=None, description="The last day; omitted: no upper bound")


class DayQuery(ListQuery, Span):
    """The filters and the order of the daily statistics."""

    chatbot_id: UUID | None = Field(
        default=None, description="Only the days of this bot; omitted: of all"
    )
    totals: bool | None = Field(
        default=None,
        description="Only the company's totals (true) or the bots' days (false); omitted: both",
    )
    sort: Literal["date", "-date"] = Field(
        default="-date", description="The field to sort by; ``-`` means descending"
    )


class SummaryQuery(Span):
    """The days to sum, of one bot or of every bot that the caller may see."""

    chatbot_id: UUID | None = Field(
        default=None, description="Only this bot; omitted: every bot that the caller may see"
    )


class SummaryOut(BaseModel):
    """The sums of the bots' days, and averages over the summed facts."""

    days: int = Field(description="Days with at least one row of statistics")
    total_messages: int = Field(description="Messages of every sender")
    bot_messages: int = Field(description="Messages of bots")
    human_messages: int = Field(description="Messages of the staff")
    end_user_messages: int = Field(description="Messages of end users")
    new_conversations: int = Field(description="Conversations that started")
    resolved_conversations: int = Field(
        description="Conversations that ended and were not abandoned"
    )
    hitl_escalations: int = Field(description="Takeovers by people that were opened")
    total_tokens_used: int = Field(description="Tokens of language models that the messages used")
    satisfaction_ratings: int = Field(description="Conversations with a rating of the end user")
    satisfaction_avg: float | None = Field(
        description="Average rating, 1 to 5; null: there is no rating"
    )
    thumbs_up: int = Field(description="Number of answers that a visitor rated as good")
    thumbs_down: int = Field(description="Number of answers that a visitor rated as bad")
    knowledge_queries: int = Field(description="Searches in the documents")
    knowledge_hits: int = Field(description="Searches whose results were used for an answer")
    knowledge_hit_rate: float | None = Field(
        description=(
            "``knowledge_hits`` in per cent of ``knowledge_queries``; null: there was no search"
        )
    )
    avg_response_time_ms: float | None = Field(
        description=(
            "Average time in which the bots produced an answer, in milliseconds; null: unknown"
        )
    )


@dataclass(frozen=True, slots=True)
class Metric:
    """A measurement of the system that concerns the company."""

    id: Annotated[UUID, Field(description="The id of the measurement")]
    timestamp: Annotated[datetime, Field(description="When it was measured")]
    metric_type: Annotated[str, Field(description="The name of the metric")]
    value: Annotated[float, Field(description="The measured value")]
    unit: Annotated[str | None, Field(description="The unit of the value; null: none")]
    labels: Annotated[
        dict[str, Any] | None,
        Field(description="Further attributes of the measurement, by name; null: none"),
    ]
    chatbot_id: Annotated[
        UUID | None, Field(description="The bot that it concerns; null: the whole company")
    ]


class MetricQuery(ListQuery):
    """The filters and the order of the metrics."""

    metric_type: MetricType | None = Field(
        default=None, description="Only the metric with this name; omitted: all metrics"
    )
    chatbot_id: UUID | None = Field(
        default=None, description="Only measurements of this bot; omitted: all"
    )
    since: Timestamp | None = Field(
        default=None, description="Only measurements at this time or later; omitted: no lower bound"
    )
    until: Timestamp | None = Field(
        default=None, description="Only measurements before this time; omitted: no upper bound"
    )
    sort: Literal["timestamp", "-timestamp"] = Field(
        default="-timestamp", description="The field to sort by; ``-`` means descending"
    )
