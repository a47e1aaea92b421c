"""The request and response bodies of webhook endpoints and their deliveries."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from neurant.api.listing import ListQuery
from neurant.core.url_types import HttpsUrl

Event = Literal[
    "conversation.started",
    "conversation.resolved",
    "message.received",
    "message.sent",
    "takeover.requested",
    "takeover.started",
    "takeover.ended",
    "document.completed",
    "document.failed",
]
Events = Annotated[list[Event], Field(min_length=1, max_length=20)]
_ANY: list[Event] = ["message.received"]


EndpointId = Annotated[UUID, Path(description="The id of the webhook endpoint")]


class WebhookEndpointOut(BaseModel):
    """An address that receives the company's events, without its secret."""

    id: UUID = Field(description="The id of the endpoint")
    url: str = Field(description="The HTTPS address that receives the events")
    events: list[str] = Field(description="The names of the events that are delivered")
    is_active: bool = Field(description="Whether events are delivered to it")
    created_by: UUID = Field(description="The id of the user who created it")
    created_at: datetime = Field(description="When it was created")
    updated_at: datetime = Field(description="When it was last changed")


class NewWebhookEndpoint(WebhookEndpointOut):
    """A webhook endpoint with its secret, which is returned only once."""

    secret: str = Field(
        description="The secret that signs every delivery, as standardwebhooks.com describes"
    )


class WebhookEndpointIn(BaseModel):
    """A new webhook endpoint."""

    model_config = ConfigDict(extra="forbid")

    url: HttpsUrl = Field(description="The HTTPS address that receives the events")
    events: Events = Field(description="The names of the events to deliver")


class WebhookEndpointPatch(BaseModel):
    """The fields to change. A field that is left out stays."""

    model_config = ConfigDict(extra="forbid")

    url: HttpsUrl = Field(default="", description="The HTTPS address that receives the events")
    events: Events = Field(
        default=_ANY, description="The names of the events to deliver; replaced as a whole"
    )
    is_active: bool = Field(default=True, description="Whether events are delivered to it")


class WebhookEndpointQuery(ListQuery):
    """The filters and the order of the list."""

    is_active: bool | None = Field(
        default=None, description="Only active (true) or inactive (false) endpoints; omitted: both"
    )
    sort: Literal["created_at", "-created_at"] = Field(
        default="-created_at", description="The field to sort by; ``-`` means descending"
    )


class WebhookDeliveryOut(BaseModel):
    """The delivery of one event to an endpoint."""

    id: UUID = Field(description="The id of the delivery")
    event: str = Field(description="The name of the event")
    payload: dict[str, Any] = Field(description="The event's data, as they are sent")
    status: Literal["pending", "delivered", "failed"] = Field(
        description="The state of the delivery"
    )
    attempts: int = Field(description="How often delivery was attempted")
    due_at: datetime = Field(description="When the next attempt is due, or when the last one was")
    response_status: int | None = Field(
        description="The HTTP status of the last answer; null: there was no answer"
    )
    last_error: str | None = Field(description="Why the last attempt failed; null: none failed")
    created_at: datetime = Field(description="When the event occurred")
    delivered_at: datetime | None = Field(
        description="When the endpoint accepted the delivery; null: it has not"
    )


class WebhookDeliveryQuery(ListQuery):
    """The filters and the order of an endpoint's deliveries."""

    status: Literal["pending", "delivered", "failed"] | None = Field(
        default=None, description="Only deliveries in this state; omitted: all states"
    )
    event: Event | None = Field(
        default=None, description="Only deliveries of this event; omitted: all events"
    )
    sort: Literal["created_at", "-created_at"] = Field(
        default="-created_at", description="The field to sort by; ``-`` means descending"
    )
