"""Notifications on the wire."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from neurant.api.listing import ListQuery

Kind = Annotated[str, Field(pattern=r"^[a-z_]{3,50}$")]


@dataclass(frozen=True, slots=True)
class Notification:
    """Something that one person is told: ``details`` are the parameters of its text."""

    id: UUID
    kind: str
    details: dict[str, Any]
    created_at: datetime
    read_at: datetime | None


class NotificationOut(BaseModel):
    """Something that one person is told."""

    id: UUID
    kind: str = Field(description="Stable: for a program")
    text: str = Field(description="For a person, in the language of Accept-Language")
    details: dict[str, Any]
    created_at: datetime
    read_at: datetime | None


class NotificationQuery(ListQuery):
    """The filters and sorts of the list."""

    unread: bool | None = None
    kind: Kind | None = None
    sort: Literal["created_at", "-created_at"] = "-created_at"


class ReadAllOut(BaseModel):
    """How many were unread until now."""

    read: int
