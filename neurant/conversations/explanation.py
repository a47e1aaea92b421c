"""The explanation of a message of the bot, and its sentence for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

MAX_PASSAGES = 5
MAX_REPAIRED = 10
MAX_WORD_CHARS = 40
MAX_QUESTION_CHARS = 500
MAX_NAME_CHARS = 120
MAX_EXCERPT_CHARS = 200


class RepairedWord(BaseModel):
    """A word that was read differently from how it was written."""

    written: str = Field(description="Word as the customer wrote it")
    read: str = Field(description="Word that was searched instead")


class ExplainedPassage(BaseModel):
    """A passage that the search found, with its scores."""

    chunk_id: UUID = Field(description="UUID of the passage")
    document: str = Field(description="Title or file name of the document")
    page: int | None = Field(description="Page in the document; null: it has no pages")
    section: str | None = Field(description="Heading above the passage; null: none")
    excerpt: str = Field(description="Beginning of the passage")
    score: float = Field(
        description="Relevance from 0 to 1, relative to the other passages of this question"
    )
    similarity: float | None = Field(
        description="Cosine similarity with the question; null: found by its words only"
    )
    lexical: float | None = Field(description="Score of the words; null: found by its meaning only")
    is_quoted: bool = Field(description="Whether the answer quotes the passage")


class Explanation(BaseModel):
    """The reasons of a message of the bot: how it read the turn, found passages and decided."""

    turn: str = Field(
        description="Kind of turn, such as small_talk, user_request, keywords or question"
    )
    decision: Literal["answer", "escalate", "notice"] = Field(
        description="answer: it answered; escalate: it handed over; notice: it showed a notice"
    )
    reason: str = Field(
        description="Why: courtesy, user_request, no_people, keywords, documents, below_threshold,"
        " nothing_found, failed, inactive or empty"
    )
    keyword: str | None = Field(
        default=None, description="Keyword that handed over; null: none did"
    )
    question: str | None = Field(
        default=None, description="Text that was searched; null: nothing was searched"
    )
    repaired: list[RepairedWord] = Field(
        default=[], description="Words that were read differently from how they were written"
    )
    confidence: float | None = Field(
        default=None,
        description="Probability from 0 to 1 that the best passage answers, also where the bot did"
        " not answer; null: no passage was compared",
    )
    threshold: float | None = Field(
        default=None, description="Least confidence for an answer; null: nothing was searched"
    )
    passages: list[ExplainedPassage] = Field(
        default=[], description="Best passages of the search, best first, at most 5"
    )


class ExplanationOut(Explanation):
    """An explanation with its sentence for people."""

    summary: str = Field(
        description="The decision and its reason as a sentence, in the language of the request"
    )


def explanation_out(explanation: Explanation, translate: Callable[..., str]) -> ExplanationOut:
    """Return the explanation with its sentence."""
    return ExplanationOut(**explanation.model_dump(), summary=summary(explanation, translate))


def summary(explanation: Explanation, translate: Callable[..., str]) -> str:
    """Return the decision and its reason as a sentence for people."""
    try:
        reason = translate(
            f"explanation.reason.{explanation.reason}",
            keyword=explanation.keyword or "",
            confidence=_percent(explanation.confidence),
            threshold=_percent(explanation.threshold),
        )
    except KeyError:
        reason = explanation.reason
    return f"{reason} {translate(f'explanation.decision.{explanation.decision}')}"


def turn_name(explanation: Explanation, translate: Callable[..., str]) -> str:
    """Return the kind of turn in words; a kind without a text keeps its name."""
    try:
        return translate(f"explanation.turn.{explanation.turn}")
    except KeyError:
        return explanation.turn


def in_words(explanation: Explanation, translate: Callable[..., str]) -> dict[str, Any]:
    """Return the explanation as a page shows it: the kind of turn in words, and the sentence."""
    words = {
        "turn": turn_name(explanation, translate),
        "summary": summary(explanation, translate),
    }
    return explanation.model_dump() | words


def _percent(share: float | None) -> str:
    return f"{(share or 0) * 100:.0f} %"
