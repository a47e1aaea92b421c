"""The request and response bodies of documents and of the search in them."""

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
        description="A BCP 47 tag: es, en, pt-BR",
    ),
]
Question = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"\S"), STORABLE]


class DocumentOut(BaseModel):
    """A document with its metadata and the state of its reading."""

    id: UUID = Field(description="The id of the document")
    chatbot_id: UUID | None = Field(
        description="The bot that uses the document; null: all bots of the company share it"
    )
    filename: str = Field(description="The file's name, as it was uploaded")
    file_type: str = Field(description="pdf, docx or txt")
    file_size_bytes: int = Field(description="The file's size in bytes")
    status: Literal["pending", "processing", "completed", "failed"] = Field(
        description="pending: waits for the worker; completed: answers can use the document"
    )
    progress: int = Field(description="How much has been read, in percent (0 to 100)")
    error: str | None = Field(
        description="The reason for a failure and what to do, in the language of"
        " Accept-Language; null: there was no failure"
    )
    unread_pages: list[int] = Field(
        description="The numbers of the PDF pages without text, such as scanned ones"
    )
    character_count: int | None = Field(
        description="The number of characters of the text; null: not read yet"
    )
    chunk_count: int | None = Field(
        description="The number of passages; null: not divided into passages yet"
    )
    title: str | None = Field(description="The title; null: none is known")
    description: str | None = Field(description="A free description; null: none was given")
    category: str | None = Field(description="The category; null: none was given")
    tags: list[str] = Field(description="The tags, at most 20")
    language: str | None = Field(description="A BCP 47 tag such as es; null: none was given")
    query_count: int = Field(description="The number of answers that used the document")
    last_used_at: datetime | None = Field(
        description="The time of the newest answer that used the document; null: none did"
    )
    uploaded_by: UUID = Field(description="The id of the person who uploaded the document")
    created_at: datetime = Field(description="The time of the upload")
    updated_at: datetime = Field(description="The time of the last change")
    retired_at: datetime | None = Field(
        description="The time since which no answer uses the document; null: it is in use"
    )


class TakenDocument(BaseModel):
    """A document that was accepted and waits to be read by the worker."""

    id: UUID = Field(description="The id of the new document")


class DocumentPatch(BaseModel):
    """The metadata to change; an omitted field keeps its value, null removes it."""

    model_config = ConfigDict(extra="forbid")

    title: Title | None = Field(default=None, description="The title; null removes it")
    description: Description | None = Field(
        default=None, description="A free description; null removes it"
    )
    category: Category | None = Field(default=None, description="The category; null removes it")
    tags: list[Tag] = Field(
        default_factory=list, max_length=20, description="All tags; an empty list removes them"
    )
    language: LanguageTag | None = Field(
        default=None, description="A BCP 47 tag: es, en, pt-BR; null removes it"
    )


class DocumentQuery(ListQuery):
    """The filters and sort orders of the list of documents."""

    chatbot_id: UUID | None = Field(
        default=None, description="Only documents that belong to this bot alone"
    )
    status: Literal["pending", "processing", "completed", "failed"] | None = Field(
        default=None, description="Only documents whose reading is in this state"
    )
    file_type: Literal["pdf", "docx", "txt"] | None = Field(
        default=None, description="Only documents of this type"
    )
    category: Category | None = Field(
        default=None, description="Only documents of exactly this category"
    )
    tag: Tag | None = Field(default=None, description="Only documents that have exactly this tag")
    language: LanguageTag | None = Field(
        default=None, description="Only documents of this language, a BCP 47 tag"
    )
    is_retired: bool = Field(
        default=False, description="true: only retired documents; false: only documents in use"
    )
    q: Annotated[Text, Field(min_length=1, max_length=200)] | None = Field(
        default=None,
        description="Words of the title, description or file name; the last word may be incomplete",
    )
    sort: Literal["created_at", "-created_at", "filename", "-filename"] = Field(
        default="-created_at", description="The field to sort by; a minus sign: descending"
    )


class ChunkOut(BaseModel):
    """A passage of a document, as answers use it."""

    id: UUID = Field(description="The id of the passage")
    position: int = Field(description="The passage's position in the document, from 0")
    content: str = Field(description="The text of the passage")
    character_count: int = Field(description="The number of characters of the text")
    page_number: int | None = Field(
        description="The PDF page, from 1; null: the file type has no pages"
    )
    section_title: str | None = Field(
        description="The heading above the passage; null: there is none"
    )
    match_count: int = Field(description="The number of answers that quoted the passage")
    last_matched_at: datetime | None = Field(
        description="The time of the newest answer that quoted the passage; null: none did"
    )


class ChunkQuery(ListQuery):
    """The paging of a document's passages, which are sorted by position."""


class SearchIn(BaseModel):
    """A question to search a bot's documents with."""

    model_config = ConfigDict(extra="forbid")

    query: Annotated[Question, Field(description="The question, at most 1,000 characters")]
    chatbot_id: UUID = Field(
        description="The bot whose documents and shared documents are searched"
    )
    limit: int = Field(
        default=5, ge=1, le=20, description="The maximum number of passages to return"
    )


class PassageOut(BaseModel):
    """A passage that was found, with its scores."""

    chunk_id: UUID = Field(description="The id of the passage")
    document_id: UUID = Field(description="The id of the passage's document")
    document: str = Field(description="The document's title, or else its file name")
    page_number: int | None = Field(
        description="The PDF page, from 1; null: the file type has no pages"
    )
    section_title: str | None = Field(
        description="The heading above the passage; null: there is none"
    )
    content: str = Field(description="The text of the passage")
    score: float = Field(
        description="The combined score from 0 to 1, comparable only within this result"
    )
    similarity: float | None = Field(
        description="The cosine similarity to the question; null: only the word search found it"
    )
    lexical: float | None = Field(
        description="PostgreSQL's ts_rank for the words; null: only the vector search found it"
    )


class FoundPassages(BaseModel):
    """The passages nearest to a question."""

    data: list[PassageOut] = Field(description="The passages, best first")


class AskedOut(BaseModel):
    """A question that a bot searched its documents for, and the result."""

    id: UUID = Field(description="The id of the search")
    conversation_id: UUID | None = Field(
        description="The conversation of the question; null: there was none"
    )
    query: str = Field(description="The text of the question")
    results_count: int = Field(
        description="The number of passages that were found; 0 where none of them was an answer"
    )
    top_similarity: float | None = Field(
        description="The highest cosine similarity of a passage; null: no vector was compared"
    )
    took_ms: int | None = Field(
        description="The time from the start of the reply to its answer, in milliseconds; null:"
        " not measured"
    )
    created_at: datetime = Field(description="The time of the search")


class AskedQuery(ListQuery):
    """The filters and sort orders of the list of questions."""

    answered: bool | None = Field(
        default=None, description="true: only questions with an answer; false: only those without"
    )
    sort: Literal["created_at", "-created_at"] = Field(
        default="-created_at", description="The field to sort by; a minus sign: descending"
    )
