"""The query parameters and response bodies of notifications."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Path
from pydantic import BaseModel, Field

from neurant.api.listing import ListQuery

Kind = Annotated[str, Field(pattern=r"^[a-z_]{3,50}$")]


NotificationId = Annotated[UUID, Path(description="The id of the notification")]


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification for one person; ``details`` holds the parameters of its text."""

    id: UUID
    kind: str
    details: dict[str, Any]
    created_at: datetime
    read_at: datetime | None


class NotificationOut(BaseModel):
    """A notification for one person."""

    id: UUID = Field(description="The id of the notification")
    kind: str = Field(description="The kind of notification, as a stable code")
    text: str = Field(description="The text for a person, in the language of Accept-Language")
    details: dict[str, Any] = Field(description="The parameters of the text, by name")
    created_at: datetime = Field(description="When it was created")
    read_at: datetime | None = Field(
        description="When it was first marked as read; null: it is unread"
    )


class NotificationQuery(ListQuery):
    """The filters and the order of the list."""

    unread: bool | None = Field(
        default=None,
        description="Only unread (true) or only read (false) notifications; omitted: both",
    )
    kind: Kind | None = Field(
        default=None, description="Only notifications of this kind; omitted: all kinds"
    )
    sort: Literal["created_at", "-created_at"] = Field(
        default="-created_at", description="The field to sort by; ``-`` means descending"
    )


class ReadAllOut(BaseModel):
    """The result of marking all notifications as read."""

    read: int = Field(description="How many notifications were unread before")
