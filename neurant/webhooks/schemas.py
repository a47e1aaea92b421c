"""Webhook endpoints on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

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


class WebhookEndpointOut(BaseModel):
    """An address that is told what happens, without its secret."""

    id: UUID
    url: str
    events: list[str]
    is_active: bool
    created_by: UUID
    created_at: datetime
    updated_at: datetime


class NewWebhookEndpoint(WebhookEndpointOut):
    """The same with its secret, which is shown this once."""

    secret: str = Field(description="Signs every delivery, as standardwebhooks.com describes")


class WebhookEndpointIn(BaseModel):
    """A new one."""

    model_config = ConfigDict(extra="forbid")

    url: HttpsUrl
    events: Events


class WebhookEndpointPatch(BaseModel):
    """What may be changed; a field that is left out stays."""

    model_config = ConfigDict(extra="forbid")

    url: HttpsUrl = ""
    events: Events = _ANY
    is_active: bool = True


class WebhookEndpointQuery(ListQuery):
    """The filters and sorts of the list."""

    is_active: bool | None = None
    sort: Literal["created_at", "-created_at"] = "-created_at"


class WebhookDeliveryOut(BaseModel):
    """Something that an endpoint is, was or could not be told."""

    id: UUID
    event: str
    payload: dict[str, Any]
    status: Literal["pending", "delivered", "failed"]
    attempts: int
    due_at: datetime = Field(description="When it is tried next, or was last")
    response_status: int | None
    last_error: str | None
    created_at: datetime
    delivered_at: datetime | None


class WebhookDeliveryQuery(ListQuery):
    """The filters and sorts of an endpoint's deliveries."""

    status: Literal["pending", "delivered", "failed"] | None = None
    event: Event | None = None
    sort: Literal["created_at", "-created_at"] = "-created_at"
