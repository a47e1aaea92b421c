"""The bodies of the endpoints for documents and the search in them."""

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
        description="Language tag of BCP 47, such as es, en or pt-BR",
    ),
]
Question = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"\S"), STORABLE]


class DocumentOut(BaseModel):
    """A document, its classification, and the state of its processing."""

    id: UUID = Field(description="UUID of the document")
    chatbot_id: UUID | None = Field(
        description="UUID of the bot that uses it; null: all bots of the company"
    )
    filename: str = Field(description="Name of the uploaded file")
    file_type: str = Field(description="Kind of file: pdf, docx or txt")
    file_size_bytes: int = Field(description="Size of the uploaded file in bytes")
    status: Literal["pending", "processing", "completed", "failed"] = Field(
        description="pending, processing, completed, or failed"
    )
    progress: int = Field(description="Progress of the processing in percent")
    error: str | None = Field(
        description="Why the document could not be read, and what to do; null: no error"
    )
    unread_pages: list[int] = Field(
        description="Numbers of the pages without text, such as scanned ones"
    )
    character_count: int | None = Field(description="Characters of text; null: not read yet")
    chunk_count: int | None = Field(description="Number of passages; null: not read yet")
    title: str | None = Field(description="Title for people; null: none")
    description: str | None = Field(description="Summary of the content; null: none")
    category: str | None = Field(description="Category of the document; null: none")
    tags: list[str] = Field(description="Free keywords of the document")
    language: str | None = Field(
        description="Language tag of BCP 47, such as es or pt-BR; null: unknown"
    )
    query_count: int = Field(description="Number of answers that used the document")
    last_used_at: datetime | None = Field(description="When an answer last used it; null: never")
    uploaded_by: UUID = Field(description="UUID of the person who uploaded it")
    created_at: datetime = Field(description="When the document was uploaded")
    updated_at: datetime = Field(description="When the document last changed")
    retired_at: datetime | None = Field(
        description="Since when no answer uses it; null: it is in use"
    )


class TakenDocument(BaseModel):
    """A document that was accepted; the worker reads it next."""

    id: UUID = Field(description="UUID of the document")


class DocumentPatch(BaseModel):
    """Changes of a document; a field that is left out keeps its value, null empties it."""

    model_config = ConfigDict(extra="forbid")

    title: Title | None = Field(default=None, description="Title for people; null: none")
    description: Description | None = Field(
        default=None, description="Summary of the content; null: none"
    )
    category: Category | None = Field(
        default=None, description="Category of the document; null: none"
    )
    tags: list[Tag] = Field(
        default_factory=list, max_length=20, description="Free keywords of the document"
    )
    language: LanguageTag | None = Field(
        default=None, description="Language tag of BCP 47, such as es or pt-BR; null: unknown"
    )


class DocumentQuery(ListQuery):
    """The filters and sort orders of the list of documents."""

    chatbot_id: UUID | None = Field(
        default=None, description="Only documents that belong to this bot"
    )
    status: Literal["pending", "processing", "completed", "failed"] | None = Field(
        default=None, description="Only documents in this state"
    )
    file_type: Literal["pdf", "docx", "txt"] | None = Field(
        default=None, description="Only documents of this kind of file"
    )
    category: Category | None = Field(default=None, description="Only documents of this category")
    tag: Tag | None = Field(default=None, description="Only documents with this keyword")
    language: LanguageTag | None = Field(
        default=None, description="Only documents in this language, such as es"
    )
    is_retired: bool = Field(
        default=False, description="true: only retired documents; false: only documents in use"
    )
    q: Annotated[Text, Field(min_length=1, max_length=200)] | None = Field(
        default=None,
        description="Words of title, description or file name; the last word may be incomplete",
    )
    sort: Literal["created_at", "-created_at", "filename", "-filename"] = Field(
        default="-created_at", description="Order of the rows; - reverses it"
    )


class ChunkOut(BaseModel):
    """A passage of a document, as answers use it."""

    id: UUID = Field(description="UUID of the passage")
    position: int = Field(description="Place in the document, counted from 0")
    content: str = Field(description="Text of the passage")
    character_count: int = Field(description="Number of characters of the text")
    page_number: int | None = Field(description="Page of the document; null: it has no pages")
    section_title: str | None = Field(description="Heading above the passage; null: none")
    match_count: int = Field(description="Number of searches that returned the passage")
    last_matched_at: datetime | None = Field(
        description="When a search last returned it; null: never"
    )


class ChunkQuery(ListQuery):
    """The page of a document's passages, which are listed in their order."""


class SearchIn(BaseModel):
    """A question to search a bot's documents with."""

    model_config = ConfigDict(extra="forbid")

    query: Question = Field(description="Question in the words of a customer")
    chatbot_id: UUID = Field(description="UUID of the bot whose documents are searched")
    limit: int = Field(default=5, ge=1, le=20, description="Maximum number of passages, best first")


class PassageOut(BaseModel):
    """A passage that matches the question, and its scores."""

    chunk_id: UUID = Field(description="UUID of the passage")
    document_id: UUID = Field(description="UUID of the document of the passage")
    document: str = Field(description="Title or file name of the document")
    page_number: int | None = Field(description="Page of the document; null: it has no pages")
    section_title: str | None = Field(description="Heading above the passage; null: none")
    content: str = Field(description="Text of the passage")
    score: float = Field(
        description="Relevance from 0 to 1, relative to the other passages of this question"
    )
    similarity: float | None = Field(
        description="Cosine similarity with the question; null: found by its words only"
    )
    lexical: float | None = Field(
        description="PostgreSQL's ts_rank of the words; null: found by its meaning only"
    )


class FoundPassages(BaseModel):
    """The passages that match a question best."""

    data: list[PassageOut] = Field(description="The passages, best first")


class KnowledgeQueryOut(BaseModel):
    """A question that a bot looked up, and its result."""

    id: UUID = Field(description="UUID of the recorded question")
    conversation_id: UUID | None = Field(
        description="UUID of the conversation; null: none, or erased"
    )
    query: str = Field(description="Text of the question")
    results_count: int = Field(description="Number of passages that were found")
    top_similarity: float | None = Field(
        description="Highest cosine similarity of a passage; null: none"
    )
    confidence: float | None = Field(
        description="Probability from 0 to 1 that the best passage answers, also where the bot did"
        " not answer; null: no passage was compared"
    )
    took_ms: int | None = Field(
        description="Time of the search in milliseconds; null: not measured"
    )
    created_at: datetime = Field(description="When the question was asked")


class KnowledgeQueriesQuery(ListQuery):
    """The filters and sort orders of the list of questions."""

    answered: bool | None = Field(
        default=None, description="true: only questions with a result; false: only those without"
    )
    sort: Literal["created_at", "-created_at"] = Field(
        default="-created_at", description="Order of the rows; - reverses it"
    )
