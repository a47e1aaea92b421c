"""The request and response bodies of canned responses."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field

from neurant.api.listing import ListQuery
from neurant.core.text_types import STORABLE

Shortcut = Annotated[str, Field(min_length=1, max_length=50, pattern=r"^[a-z0-9_-]+$")]
Content = Annotated[str, Field(min_length=1, max_length=10_000, pattern=r"\S"), STORABLE]


ResponseId = Annotated[UUID, Path(description="The id of the canned response")]


class CannedResponseOut(BaseModel):
    """A prepared answer that is inserted by its shortcut."""

    id: UUID = Field(description="The id of the canned response")
    shortcut: str = Field(description="The word that inserts it")
    content: str = Field(description="The text of the answer")
    is_shared: bool = Field(
        description="Whether the whole company may use it; false: only its author"
    )
    created_at: datetime = Field(description="When it was created")
    updated_at: datetime = Field(description="When it was last changed")


class CannedResponseIn(BaseModel):
    """A new canned response."""

    model_config = ConfigDict(extra="forbid")

    shortcut: Shortcut = Field(description="The word that inserts it")
    content: Content = Field(description="The text of the answer")
    is_shared: bool = Field(
        default=False, description="Whether the whole company may use it; false: only its author"
    )


class CannedResponsePatch(BaseModel):
    """The fields to change. A field that is left out stays."""

    model_config = ConfigDict(extra="forbid")

    shortcut: Shortcut = Field(default="", description="The word that inserts it")
    content: Content = Field(default="", description="The text of the answer")


class CannedResponseQuery(ListQuery):
    """The filters and the order of the list."""

    is_shared: bool | None = Field(
        default=None,
        description="Only shared (true) or only own (false) canned responses; omitted: both",
    )
    sort: Literal["shortcut", "-shortcut", "created_at", "-created_at"] = Field(
        default="shortcut", description="The field to sort by; ``-`` means descending"
    )
