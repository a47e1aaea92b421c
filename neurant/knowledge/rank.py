"""One ranking from two searches: by meaning (dense vectors) and by words (full text).

Both scores are scaled to 0..1 among this question's candidates and added with weights. On the
labelled Spanish questions that is better than reciprocal rank fusion (the bench ``answers``; for
the method see Bruch, Gai and Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", 2023).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import overload
from uuid import UUID

from neurant.knowledge.repair import RepairedWord

DENSE_WEIGHT = 0.6


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that a search found.

    ``similarity`` is the cosine with the question, None where only the words search found it;
    ``lexical`` is PostgreSQL's ``ts_rank``, None where only the vectors found it.
    """

    chunk_id: UUID
    document_id: UUID
    document: str
    page_number: int | None
    section_title: str | None
    content: str
    similarity: float | None
    lexical: float | None


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate with its fused score from 0 to 1."""

    candidate: Candidate
    score: float


@dataclass(frozen=True, slots=True)
class Found(Sequence[Ranked]):
    """The passages found for a question, best first, with the question as it was searched.

    ``question`` has its words repaired; ``repaired`` lists the changed ones.
    """

    ranked: tuple[Ranked, ...]
    question: str
    repaired: tuple[RepairedWord, ...] = ()

    @overload
    def __getitem__(self, index: int) -> Ranked: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Ranked]: ...

    def __getitem__(self, index: int | slice) -> Ranked | Sequence[Ranked]:
        return self.ranked[index]

    def __len__(self) -> int:
        return len(self.ranked)


def fuse(candidates: Sequence[Candidate], dense_weight: float = DENSE_WEIGHT) -> list[Ranked]:
    """Return the candidates, best first; equal scores are sorted by the chunks' ids."""
    dense = _stretched([candidate.similarity for candidate in candidates])
    lexical = _stretched([candidate.lexical for candidate in candidates])
    ranked = [
        Ranked(candidate, dense_weight * by_meaning + (1 - dense_weight) * by_words)
        for candidate, by_meaning, by_words in zip(candidates, dense, lexical, strict=True)
    ]
    return sorted(ranked, key=lambda one: (-one.score, one.candidate.chunk_id))


def _stretched(scores: Iterable[float | None]) -> list[float]:
    """Scale scores to 0..1; a missing score counts as the lowest, equal scores as the highest."""
    values = list(scores)
    present = [value for value in values if value is not None]
    if not present:
        return [0.0] * len(values)
    low, high = min(present), max(present)
    span = high - low
    return [0.0 if value is None else (value - low) / span if span > 0 else 1.0 for value in values]
