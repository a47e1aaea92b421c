"""The request and response bodies of notes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from neurant.api.listing import ListQuery
from neurant.core.text_types import STORABLE


class NoteOut(BaseModel):
    """A note of the staff about a conversation, which the end user never sees."""

    id: UUID = Field(description="The id of the note")
    conversation_id: UUID = Field(description="UUID of the conversation that this belongs to")
    author_id: UUID = Field(description="The user who wrote it")
    content: str = Field(description="The text of the note")
    created_at: datetime = Field(description="When it was written")


class NoteIn(BaseModel):
    """A new note."""

    model_config = ConfigDict(extra="forbid")

    content: Annotated[str, Field(min_length=1, max_length=10_000, pattern=r"\S"), STORABLE] = (
        Field(description="The text of the note")
    )


class NoteQuery(ListQuery):
    """The order of the notes."""

    sort: Literal["created_at", "-created_at"] = Field(
        default="created_at", description="The field to sort by; ``-`` means descending"
    )
