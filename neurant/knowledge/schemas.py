"""Documents and the search in them, on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from neurant.api.listing import ListQuery
from neurant.core.text_types import IS_LABEL, STORABLE, Text, formatted

Title = Annotated[
    str,
    Field(min_length=1, max_length=500, pattern=r"\S"),
    formatted("name"),
    IS_LABEL,
    STORABLE,
]
Description = Annotated[str, Field(min_length=1, max_length=10_000, pattern=r"\S"), STORABLE]
Category = Annotated[str, Field(min_length=1, max_length=100, pattern=r"\S"), STORABLE]
Tag = Annotated[str, Field(min_length=1, max_length=50, pattern=r"\S"), STORABLE]
LanguageTag = Annotated[
    str,
    Field(
        max_length=10,
        pattern=r"^[a-z]{2,3}(-[A-Z]{2})?$",
        description="As BCP 47 writes it: es, en, pt-BR",
    ),
]
Question = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"\S"), STORABLE]


class DocumentOut(BaseModel):
    """A document, what it is filed under, and how far its reading is."""

    id: UUID
    chatbot_id: UUID | None = Field(description="Null: shared by all bots")
    filename: str
    file_type: str
    file_size_bytes: int
    status: Literal["pending", "processing", "completed", "failed"]
    progress: int = Field(description="Percent")
    error: str | None = Field(description="Why it could not be read, and what to do")
    unread_pages: list[int] = Field(description="Pages without text, such as scanned ones")
    character_count: int | None
    chunk_count: int | None
    title: str | None
    description: str | None
    category: str | None
    tags: list[str]
    language: str | None
    query_count: int = Field(description="Answers that used it")
    last_used_at: datetime | None
    uploaded_by: UUID
    created_at: datetime
    updated_at: datetime
    retired_at: datetime | None = Field(description="Since when no answer uses it")


class TakenDocument(BaseModel):
    """A document that was taken in; the worker reads it next."""

    id: UUID


class DocumentPatch(BaseModel):
    """What may be changed; a field that is left out stays, null empties it."""

    model_config = ConfigDict(extra="forbid")

    title: Title | None = None
    description: Description | None = None
    category: Category | None = None
    tags: list[Tag] = Field(default_factory=list, max_length=20)
    language: LanguageTag | None = None


class DocumentQuery(ListQuery):
    """The filters and sorts of the list."""

    chatbot_id: UUID | None = Field(default=None, description="Only what is this bot's own")
    status: Literal["pending", "processing", "completed", "failed"] | None = None
    file_type: Literal["pdf", "docx", "txt"] | None = None
    category: Category | None = None
    tag: Tag | None = None
    language: LanguageTag | None = None
    is_retired: bool = Field(default=False, description="Those that no answer uses any more")
    q: Annotated[Text, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="Words of title, description or file name; the last unfinished"
    )
    sort: Literal["created_at", "-created_at", "filename", "-filename"] = "-created_at"


class ChunkOut(BaseModel):
    """A passage of a document, as answers use it."""

    id: UUID
    position: int = Field(description="From 0")
    content: str
    character_count: int
    page_number: int | None
    section_title: str | None
    match_count: int
    last_matched_at: datetime | None


class ChunkQuery(ListQuery):
    """A document's passages come in their order."""


class SearchIn(BaseModel):
    """A question to a bot's knowledge."""

    model_config = ConfigDict(extra="forbid")

    query: Question
    chatbot_id: UUID
    limit: int = Field(default=5, ge=1, le=20, description="Passages, best first")


class PassageOut(BaseModel):
    """A passage that answers, and why it was chosen."""

    chunk_id: UUID
    document_id: UUID
    document: str
    page_number: int | None
    section_title: str | None
    content: str
    score: float = Field(description="0 to 1, among the passages of this question")
    similarity: float | None = Field(description="Cosine with the question; null: found by words")
    lexical: float | None = Field(description="ts_rank of the words; null: found by meaning")


class FoundPassages(BaseModel):
    """The passages nearest to a question."""

    data: list[PassageOut]


class AskedOut(BaseModel):
    """A question that a bot looked up, and what it found."""

    id: UUID
    conversation_id: UUID | None
    query: str
    results_count: int
    top_similarity: float | None
    took_ms: int | None
    created_at: datetime


class AskedQuery(ListQuery):
    """The filters and sorts of the list."""

    answered: bool | None = Field(default=None, description="Whether anything was found")
    sort: Literal["created_at", "-created_at"] = "-created_at"
