"""Canned responses on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from neurant.api.listing import ListQuery
from neurant.core.text_types import STORABLE

Shortcut = Annotated[str, Field(min_length=1, max_length=50, pattern=r"^[a-z0-9_-]+$")]
Content = Annotated[str, Field(min_length=1, max_length=10_000, pattern=r"\S"), STORABLE]


class CannedResponseOut(BaseModel):
    """An answer that is written once and used by its shortcut."""

    id: UUID
    shortcut: str
    content: str
    is_shared: bool
    created_at: datetime
    updated_at: datetime


class CannedResponseIn(BaseModel):
    """A new one; one's own unless ``is_shared`` with the company."""

    model_config = ConfigDict(extra="forbid")

    shortcut: Shortcut
    content: Content
    is_shared: bool = False


class CannedResponsePatch(BaseModel):
    """What may be changed; a field that is left out stays."""

    model_config = ConfigDict(extra="forbid")

    shortcut: Shortcut = ""
    content: Content = ""


class CannedResponseQuery(ListQuery):
    """The filters and sorts of the list."""

    is_shared: bool | None = None
    sort: Literal["shortcut", "-shortcut", "created_at", "-created_at"] = "shortcut"
