"""Statistics and measures on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from neurant.api.listing import ListQuery
from neurant.core.timestamps import Day, Moment

MetricType = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]


class DayOut(BaseModel):
    """What a bot did on a day of the company's calendar; ``chatbot_id`` null: the company."""

    id: UUID
    chatbot_id: UUID | None
    date: date
    total_messages: int
    bot_messages: int
    human_messages: int
    end_user_messages: int
    new_conversations: int
    active_conversations: int
    resolved_conversations: int
    avg_conversation_duration_minutes: float | None
    hitl_escalations: int
    hitl_resolution_time_minutes: float | None
    hitl_satisfaction_avg: float | None
    avg_response_time_ms: int | None
    total_tokens_used: int
    satisfaction_ratings: int
    satisfaction_avg: float | None
    thumbs_up: int
    thumbs_down: int
    knowledge_queries: int
    knowledge_hits: int
    knowledge_hit_rate: float | None = Field(description="Per cent")


class Span(BaseModel):
    """Whole days, both included; not given: open."""

    model_config = ConfigDict(extra="forbid")

    since: Day | None = None
    until: Day | None = None


class DayQuery(ListQuery, Span):
    """The filters and sorts of the days."""

    chatbot_id: UUID | None = None
    totals: bool | None = Field(
        default=None, description="true: the company's days only; false: the bots' only"
    )
    sort: Literal["date", "-date"] = "-date"


class SummaryQuery(Span):
    """Which days to sum up; of one bot, or of all that the caller may see."""

    chatbot_id: UUID | None = None


class SummaryOut(BaseModel):
    """The sums of the bots' days, with averages over what was counted."""

    days: int
    total_messages: int
    bot_messages: int
    human_messages: int
    end_user_messages: int
    new_conversations: int
    resolved_conversations: int
    hitl_escalations: int
    total_tokens_used: int
    satisfaction_ratings: int
    satisfaction_avg: float | None
    thumbs_up: int
    thumbs_down: int
    knowledge_queries: int
    knowledge_hits: int
    knowledge_hit_rate: float | None = Field(description="Per cent")
    avg_response_time_ms: float | None


@dataclass(frozen=True, slots=True)
class Metric:
    """A measure of the system that is about the company."""

    id: UUID
    timestamp: datetime
    metric_type: str
    value: float
    unit: str | None
    labels: dict[str, Any] | None
    chatbot_id: UUID | None


class MetricQuery(ListQuery):
    """The filters and sorts of the measures."""

    metric_type: MetricType | None = None
    chatbot_id: UUID | None = None
    since: Moment | None = Field(default=None, description="From this moment on")
    until: Moment | None = Field(default=None, description="Before this moment")
    sort: Literal["timestamp", "-timestamp"] = "-timestamp"
