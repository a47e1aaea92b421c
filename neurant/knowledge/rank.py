"""One ranking from two searches: by meaning (dense vectors) and by words (full text).

A candidate's value is its cosine with the question and its share of the best words score, added
with weights that were learned from labelled Spanish questions by the softmax of the candidates'
values (decision 29). Scaling both scores to 0..1 among the candidates was worse: it makes a small
difference between the nearest passages as large as that between the nearest and the farthest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload
from uuid import UUID

from neurant.knowledge.repair import RepairedWord

SIMILARITY_WEIGHT = 98.0
WORDS_WEIGHT = 4.5


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that a search found.

    ``similarity`` is the cosine with the question, None where only the words search found it;
    ``lexical`` is PostgreSQL's ``ts_rank``, None where only the vectors found it.
    ``context_before`` and ``context_after`` are the text of the page around the passage.
    """

    chunk_id: UUID
    document_id: UUID
    document: str
    page_number: int | None
    section_title: str | None
    content: str
    similarity: float | None
    lexical: float | None
    context_before: str = ""
    context_after: str = ""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate with its score: 1 for the best, towards 0 for the others."""

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


def fuse(
    candidates: Sequence[Candidate],
    similarity_weight: float = SIMILARITY_WEIGHT,
    words_weight: float = WORDS_WEIGHT,
) -> list[Ranked]:
    """Return the candidates, best first; equal scores are sorted by the chunks' ids.

    A score says how likely a candidate is the right one, in comparison with the best: from 0 to 1.
    """
    near = [one.similarity for one in candidates if one.similarity is not None]
    # Only the word search found it, so it is at most as near as the farthest vector result.
    farthest = min(near, default=0.0)
    most_words = max((one.lexical or 0.0 for one in candidates), default=0.0) or 1.0
    values = [
        similarity_weight * (farthest if one.similarity is None else one.similarity)
        + words_weight * (one.lexical or 0.0) / most_words
        for one in candidates
    ]
    best = max(values, default=0.0)
    ranked = [
        Ranked(candidate, math.exp(value - best))
        for candidate, value in zip(candidates, values, strict=True)
    ]
    return sorted(ranked, key=lambda one: (-one.score, one.candidate.chunk_id))
