"""A company's search without a database, for the benches and the tests of answers.

It stands in for the two SQL searches: exact cosine over the passages' vectors, and an OR full-text
search scored like PostgreSQL's ``ts_rank(v, q, 1)`` (occurrences weighted 1/1, 1/4, 1/9..., the
mean over the question's words, divided by 1 + ln(length)).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid5

from bench.product import DEMO_DOCUMENTS, Candidate, Ranked, chunk, embed, extract, fuse, stems
from bench.support import ROOT

SQUAD = ROOT.parent / "shared" / "data" / "squad_es_v2_dev_tune.json"
TOP = 20
_NAMESPACE = UUID("6f0f6b7e-52ab-4d0e-9a2e-3f3c1e0a7d11")


@dataclass
class Company:
    """Passages of one company with their vectors."""

    passages: list[Candidate] = field(default_factory=list)
    vectors: list[Sequence[float]] = field(default_factory=list)
    counts: list[Counter[str]] = field(default_factory=list)

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
        self.vectors.append(vector or embed.embed_passage(text_to_embed or content))
        self.counts.append(Counter(stems(text_to_embed or content)))

    def search(self, question: str, vector: Sequence[float] | None = None) -> list[Ranked]:
        """Return the 20 nearest passages and the 20 with the most common words, fused."""
        asked = vector or embed.embed_query(question)
        dense = [sum(map(float.__mul__, asked, known)) for known in self.vectors]
        words = list(dict.fromkeys(stems(question)))
        lexical = [_ts_rank(words, counts) for counts in self.counts]
        order = range(len(self.passages))
        near = set(sorted(order, key=lambda i: -dense[i])[:TOP])
        worded = {i for i in sorted(order, key=lambda i: -lexical[i])[:TOP] if lexical[i] > 0}
        return fuse([self._found(i, dense[i], lexical[i] or None) for i in sorted(near | worded)])

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
