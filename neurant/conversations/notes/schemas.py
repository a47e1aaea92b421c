"""Notes on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from neurant.api.listing import ListQuery
from neurant.core.text_types import STORABLE


class NoteOut(BaseModel):
    """What a colleague wrote about a conversation; the end user never sees it."""

    id: UUID
    conversation_id: UUID
    author_id: UUID
    content: str
    created_at: datetime


class NoteIn(BaseModel):
    """A new one."""

    model_config = ConfigDict(extra="forbid")

    content: Annotated[str, Field(min_length=1, max_length=10_000, pattern=r"\S"), STORABLE]


class NoteQuery(ListQuery):
    """In the order in which they were written, or the other way round."""

    sort: Literal["created_at", "-created_at"] = "created_at"
