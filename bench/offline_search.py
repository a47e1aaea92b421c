"""A company's search without a database, for the benches and the tests of answers.

It stands in for the two SQL searches: exact cosine over the passages' vectors, and an OR full-text
search scored like PostgreSQL's ``ts_rank(v, q, 1)`` (occurrences weighted 1/1, 1/4, 1/9..., the
mean over the question's words, divided by 1 + ln(length)).
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid5

import numpy as np

from bench.embedding_cache import passage_vector, query_vector
from bench.product import (
    DEMO_DOCUMENTS,
    Candidate,
    Found,
    Repaired,
    Vocabulary,
    chunk,
    extract,
    fuse,
    repair,
    stems,
    vocabulary_of,
    words_of,
)
from bench.support import ROOT

SQUAD = Path(
    os.environ.get("BENCH_SQUAD", ROOT.parent / "shared" / "data" / "squad_es_v2_dev_tune.json")
)
TOP = 20
_NAMESPACE = UUID("6f0f6b7e-52ab-4d0e-9a2e-3f3c1e0a7d11")


@dataclass
class Company:
    """Passages of one company with their vectors."""

    passages: list[Candidate] = field(default_factory=list)
    vectors: list[Sequence[float]] = field(default_factory=list)
    counts: list[Counter[str]] = field(default_factory=list)
    vocabularies: dict[str | None, Vocabulary] = field(default_factory=dict)

    def add(
        self,
        document: str,
        content: str,
        vector: Sequence[float] | None = None,
        page: int | None = None,
        section: str | None = None,
        text_to_embed: str | None = None,
    ) -> None:
        chunk_id = uuid5(_NAMESPACE, f"{len(self.passages)}{content}")
        document_id = uuid5(_NAMESPACE, document)
        self.passages.append(
            Candidate(chunk_id, document_id, document, page, section, content, None, None)
        )
        self.vectors.append(vector or passage_vector(text_to_embed or content))
        self.counts.append(Counter(stems(text_to_embed or content)))

    def repaired(self, text: str) -> Repaired:
        """Return a text with its words repaired by the company's own words."""
        return repair(text, self._vocabulary(None))

    def search(
        self, question: str, vector: Sequence[float] | None = None, without: str | None = None
    ) -> Found:
        """Repair the words; return the 20 nearest passages and the 20 with the most common words.

        The document ``without`` is left out, as if the company did not have it.
        """
        repaired = repair(question, self._vocabulary(without))
        question = repaired.text
        asked = np.array(vector or query_vector(question))
        order = [i for i, one in enumerate(self.passages) if one.document != without]
        dense = (np.array([self.vectors[i] for i in order]) @ asked).tolist()
        near = {i: score for score, i in sorted(zip(dense, order, strict=True))[-TOP:]}
        similarity = dict(zip(order, dense, strict=True))
        words = list(dict.fromkeys(stems(question)))
        lexical = {i: score for i in order if (score := _ts_rank(words, self.counts[i])) > 0}
        worded = sorted(lexical, key=lambda i: (-lexical[i], i))[:TOP]
        found = sorted(near.keys() | set(worded))
        ranked = fuse([self._found(i, similarity[i], lexical.get(i)) for i in found])
        return Found(tuple(ranked), question, repaired.words)

    def _vocabulary(self, without: str | None) -> Vocabulary:
        if without not in self.vocabularies:
            known = [one.content for one in self.passages if one.document != without]
            self.vocabularies[without] = vocabulary_of([words_of("\n".join(known))])
        return self.vocabularies[without]

    def _found(self, index: int, similarity: float, lexical: float | None) -> Candidate:
        known = self.passages[index]
        return Candidate(
            known.chunk_id,
            known.document_id,
            known.document,
            known.page_number,
            known.section_title,
            known.content,
            similarity,
            lexical,
        )


def _ts_rank(words: list[str], counts: Counter[str]) -> float:
    if not words:
        return 0.0
    total = sum(
        sum(1 / turn**2 for turn in range(1, counts[word] + 1)) / 1.64493406685 for word in words
    )
    return 0.1 * total / len(words) / (1 + math.log(max(1, counts.total())))


def demo_company(documents: int | None = None) -> Company:
    """Return the demo clinic's documents, divided and embedded, in 4 seconds.

    ``documents`` limits their number.
    """
    company = Company()
    for path in sorted(DEMO_DOCUMENTS.iterdir())[:documents]:
        for piece in chunk(extract(path.read_bytes(), path.name)):
            company.add(
                path.name,
                piece.content,
                page=piece.page_number,
                section=piece.section_title,
                text_to_embed=piece.embedding_text(),
            )
    return company
