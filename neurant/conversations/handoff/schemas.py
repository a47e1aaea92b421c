"""Takeovers and transfers on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from neurant.api.listing import ListQuery
from neurant.core.text_types import STORABLE
from neurant.core.timestamps import Moment

SessionStatus = Literal["pending", "active", "resolved", "abandoned"]
Reason = Literal["user_request", "keywords", "no_answer", "manual", "limit_reached"]
TransferKind = Literal["escalation", "skill_based", "workload_distribution", "emergency"]
TransferStatus = Literal["pending", "accepted", "rejected", "expired", "cancelled"]


class HitlSessionOut(BaseModel):
    """One time that people stepped into a conversation, or were asked to."""

    id: UUID
    conversation_id: UUID
    chatbot_id: UUID
    status: SessionStatus
    reason: Reason
    reason_detail: str | None
    operator_id: UUID | None
    opened_at: datetime
    taken_at: datetime | None
    first_response_at: datetime | None
    ended_at: datetime | None
    ended_by: UUID | None
    resolution_notes: str | None
    escalated_at: datetime | None = Field(description="When it had waited too long")


class HitlSessionQuery(ListQuery):
    """The filters and sorts of the list."""

    status: SessionStatus | None = None
    reason: Reason | None = None
    conversation_id: UUID | None = None
    chatbot_id: UUID | None = None
    operator_id: UUID | None = None
    opened_after: Moment | None = Field(default=None, description="At this moment or later")
    opened_before: Moment | None = None
    sort: Literal["-opened_at", "opened_at"] = "-opened_at"


class TransferOut(BaseModel):
    """A colleague asks another to go on with a conversation."""

    id: UUID
    session_id: UUID
    conversation_id: UUID
    chatbot_id: UUID
    from_user_id: UUID
    to_user_id: UUID
    kind: TransferKind
    reason: str
    status: TransferStatus
    created_at: datetime
    expires_at: datetime
    decided_at: datetime | None


class TransferIn(BaseModel):
    """Whom one asks, who is not below oneself, and why."""

    model_config = ConfigDict(extra="forbid")

    to_user_id: UUID
    kind: TransferKind = "escalation"
    reason: Annotated[str, Field(min_length=1, max_length=2000, pattern=r"\S"), STORABLE]


class TransferQuery(ListQuery):
    """The filters and sorts of the list."""

    status: TransferStatus | None = None
    conversation_id: UUID | None = None
    from_user_id: UUID | None = None
    to_user_id: UUID | None = None
    sort: Literal["-created_at", "created_at"] = "-created_at"
