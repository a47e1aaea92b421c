"""The request and response bodies of takeovers and transfers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from neurant.api.listing import ListQuery
from neurant.core.text_types import STORABLE
from neurant.core.timestamps import Timestamp

SessionStatus = Literal["pending", "active", "resolved", "abandoned"]
Reason = Literal[
    "user_request",
    "keywords",
    "no_answer",
    "manual",
    "limit_reached",
    "request",
    "complaint",
    "emergency",
]
TransferKind = Literal["escalation", "skill_based", "workload_distribution", "emergency"]
TransferStatus = Literal["pending", "accepted", "rejected", "expired", "cancelled"]


SessionId = Annotated[UUID, Path(description="The id of the takeover")]
TransferId = Annotated[UUID, Path(description="The id of the transfer")]


class HitlSessionOut(BaseModel):
    """A takeover: a person attends a conversation, or was requested to."""

    id: UUID = Field(description="The id of the takeover")
    conversation_id: UUID = Field(description="UUID of the conversation that this belongs to")
    chatbot_id: UUID = Field(description="The bot of the conversation")
    status: SessionStatus = Field(
        description=(
            "``pending``: it waits for a person; ``active``: a person attends; ``resolved`` and "
            "``abandoned``: it has ended"
        )
    )
    reason: Reason = Field(description="Why it was opened")
    reason_detail: str | None = Field(description="Details of the reason; null: none")
    operator_id: UUID | None = Field(
        description="The user who attends or attended it; null: nobody has taken it"
    )
    opened_at: datetime = Field(description="When it was opened")
    taken_at: datetime | None = Field(description="When a person took it; null: nobody has")
    first_response_at: datetime | None = Field(
        description="When a person first answered; null: nobody has"
    )
    ended_at: datetime | None = Field(description="When it ended; null: it is open")
    ended_by: UUID | None = Field(
        description="The user who ended it; null: it is open, or the system ended it"
    )
    resolution_notes: str | None = Field(description="Notes for the next person; null: none")
    escalated_at: datetime | None = Field(
        description=(
            "When the supervisors were notified that nobody had taken it in time; null: never"
        )
    )


class HitlSessionQuery(ListQuery):
    """The filters and the order of the list."""

    status: SessionStatus | None = Field(
        default=None, description="Only takeovers in this state; omitted: all states"
    )
    reason: Reason | None = Field(
        default=None, description="Only takeovers with this reason; omitted: all reasons"
    )
    conversation_id: UUID | None = Field(
        default=None, description="Only takeovers of this conversation; omitted: all"
    )
    chatbot_id: UUID | None = Field(
        default=None, description="Only takeovers of this bot's conversations; omitted: all bots"
    )
    operator_id: UUID | None = Field(
        default=None, description="Only takeovers of this user; omitted: all users"
    )
    opened_after: Timestamp | None = Field(
        default=None, description="Only takeovers opened at this time or later"
    )
    opened_before: Timestamp | None = Field(
        default=None, description="Only takeovers opened before this time"
    )
    sort: Literal["-opened_at", "opened_at"] = Field(
        default="-opened_at", description="The field to sort by; ``-`` means descending"
    )


class TransferOut(BaseModel):
    """A request that a colleague take over a conversation."""

    id: UUID = Field(description="The id of the transfer")
    session_id: UUID = Field(description="The takeover that is transferred")
    conversation_id: UUID = Field(description="UUID of the conversation that this belongs to")
    chatbot_id: UUID = Field(description="The bot of the conversation")
    from_user_id: UUID = Field(description="The user who asks")
    to_user_id: UUID = Field(description="The user who is asked")
    kind: TransferKind = Field(description="The kind of transfer")
    reason: str = Field(description="Why the conversation is transferred")
    status: TransferStatus = Field(description="The state of the request")
    created_at: datetime = Field(description="When it was requested")
    expires_at: datetime = Field(description="When a pending request expires")
    decided_at: datetime | None = Field(description="When the request ended; null: it is pending")


class TransferIn(BaseModel):
    """A new transfer request. The colleague's role must not be below the caller's."""

    model_config = ConfigDict(extra="forbid")

    to_user_id: UUID = Field(description="The user who is asked to take over")
    kind: TransferKind = Field(default="escalation", description="The kind of transfer")
    reason: Annotated[str, Field(min_length=1, max_length=2000, pattern=r"\S"), STORABLE] = Field(
        description="Why the conversation is transferred"
    )


class TransferQuery(ListQuery):
    """The filters and the order of the list."""

    status: TransferStatus | None = Field(
        default=None, description="Only transfers in this state; omitted: all states"
    )
    conversation_id: UUID | None = Field(
        default=None, description="Only transfers of this conversation; omitted: all"
    )
    from_user_id: UUID | None = Field(
        default=None, description="Only transfers requested by this user; omitted: all users"
    )
    to_user_id: UUID | None = Field(
        default=None, description="Only transfers addressed to this user; omitted: all users"
    )
    sort: Literal["-created_at", "created_at"] = Field(
        default="-created_at", description="The field to sort by; ``-`` means descending"
    )
