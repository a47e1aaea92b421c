"""SQuAD-es as companies with several documents, and what becomes of each question.

Six articles are one company; the first 18 paragraphs of an article are one document. A
question is asked twice: with its document, and as if the document had been removed, when nothing
may be answered. ``python -m bench.answer_set`` prints the table of the odd-numbered articles, and
``python -m bench.answer_set even`` that of the even-numbered ones, which tuning may see.
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from semantic_text_splitter import TextSplitter

from bench.mistakes import in_chat_spelling, with_slips
from bench.offline_search import SQUAD, Company
from bench.product import MAX_CHUNK_CHARS, judge
from bench.sizes import sized
from bench.support import ROOT

TRANSLATED = ROOT / "build" / "english_questions.json"  # question id to its translation, if present
ARTICLES_OF_A_COMPANY = 6
ASKED_OF_AN_ARTICLE = sized(12, tiny=2)
PARAGRAPHS = sized(18, tiny=3)
ARTICLES = sized(None, tiny=2)


@dataclass(frozen=True)
class Asked:
    """A question, the texts that answer it (none for a near miss), and its paragraph."""

    id: str
    company: int
    document: str
    question: str
    expected: tuple[str, ...]
    context: str
    is_sampled: bool = True  # False: asked only in its translation

    @property
    def seed(self) -> int:
        return zlib.crc32(self.id.encode())


@dataclass(frozen=True)
class Outcome:
    """What the search and the decision made of one question."""

    asked: Asked
    place: int  # of the right passage, from 0; 99 where it was not found
    confidence: float
    reply: str | None
    confidence_without: float
    answered_without: bool

    @property
    def holds_gold(self) -> bool:
        reply = plain(self.reply or "")
        return any(plain(wanted) in reply for wanted in self.asked.expected)


def plain(text: str) -> str:
    """Return the text in lower case with single spaces."""
    return " ".join(text.split()).lower()


@cache
def _translations() -> dict[str, str]:
    return dict(json.loads(TRANSLATED.read_text("utf-8"))) if TRANSLATED.exists() else {}


@cache
def companies(parity: int) -> tuple[list[Company], list[Asked]]:
    """Return the companies of the articles of one parity, and their questions."""
    articles = json.loads(SQUAD.read_text("utf-8"))["data"][parity::2][:ARTICLES]
    splitter = TextSplitter(MAX_CHUNK_CHARS)
    made = [Company() for _ in range(-(-len(articles) // ARTICLES_OF_A_COMPANY))]
    questions: list[Asked] = []
    for number, article in enumerate(articles):
        home = number // ARTICLES_OF_A_COMPANY
        article["paragraphs"] = article["paragraphs"][:PARAGRAPHS]
        for paragraph in article["paragraphs"]:
            for content in splitter.chunks(paragraph["context"]):
                made[home].add(article["title"], content)
        questions += _questions(article, home)
    return made, questions


def _questions(article: dict[str, object], home: int) -> Iterator[Asked]:
    paragraphs = article["paragraphs"]
    assert isinstance(paragraphs, list)
    found = [
        Asked(
            one["id"], home, str(article["title"]), one["question"],
            () if one["is_impossible"] else tuple(a["text"] for a in one["answers"] if a["text"]),
            plain(paragraph["context"]),
        )
        for paragraph in paragraphs for one in paragraph["qas"]
    ]  # fmt: skip
    for kind in (True, False):
        some = [one for one in found if bool(one.expected) is kind]
        sampled = some[:: max(1, len(some) // ASKED_OF_AN_ARTICLE)][:ASKED_OF_AN_ARTICLE]
        yield from sampled
        yield from (
            replace(one, is_sampled=False)
            for one in some
            if one.id in _translations() and one not in sampled
        )


def outcome(asked: Asked, company: Company, question: str) -> Outcome:
    """Ask a question with its document and without it."""
    ranked = company.search(question)
    verdict = judge(question, ranked)
    place = next(
        (n for n, one in enumerate(ranked) if plain(one.candidate.content) in asked.context), 99
    )
    without = judge(question, company.search(question, without=asked.document))
    return Outcome(
        asked,
        place,
        verdict.confidence or 0.0,
        verdict.answer.text if verdict.answer else None,
        without.confidence or 0.0,
        without.answer is not None,
    )


def outcomes(
    parity: int, typed: Callable[[Asked], str | None], near_misses: bool = False
) -> list[Outcome]:
    """Return the outcome of each question as ``typed`` writes it; None leaves it out."""
    made, questions = companies(parity)
    return [
        outcome(asked, made[asked.company], text)
        for asked in questions
        if bool(asked.expected) is not near_misses and (text := typed(asked))
    ]


def auc(known: Sequence[float], unknown: Sequence[float]) -> float:
    """Return the probability that a known question has a higher confidence than an unknown one."""
    left, right = np.array(known)[:, None], np.array(unknown)[None, :]
    return float((left > right).mean() + 0.5 * (left == right).mean())


VARIANTS: dict[str, Callable[[Asked], str | None]] = {
    "plain": lambda asked: asked.question if asked.is_sampled else None,
    "slips": lambda asked: with_slips(asked.question, asked.seed) if asked.is_sampled else None,
    "chat": lambda asked: (
        in_chat_spelling(asked.question, asked.seed) if asked.is_sampled else None
    ),
    "English": lambda asked: _translations().get(asked.id),
}


def rates(found: Sequence[Outcome]) -> dict[str, float]:
    """Return the rates of some outcomes."""
    return {
        "recall@1": float(np.mean([one.place == 0 for one in found])),
        "recall@5": float(np.mean([one.place < 5 for one in found])),
        "answered": float(np.mean([one.reply is not None for one in found])),
        "gold in the reply": float(np.mean([one.holds_gold for one in found])),
        "groundless": float(np.mean([one.answered_without for one in found])),
        "AUC": auc([o.confidence for o in found], [o.confidence_without for o in found]),
    }


def main() -> None:
    parity = 0 if "even" in sys.argv else 1
    for name, typed in VARIANTS.items():
        found = outcomes(parity, typed)
        if found:
            print(name, len(found), {k: round(v, 3) for k, v in rates(found).items()}, flush=True)
    plain_ones, near = (
        outcomes(parity, VARIANTS["plain"]),
        outcomes(parity, VARIANTS["plain"], True),
    )
    print("near misses", len(near), {
        "answered": round(float(np.mean([one.reply is not None for one in near])), 3),
        "AUC": round(auc([o.confidence for o in plain_ones], [o.confidence for o in near]), 3),
    })  # fmt: skip


if __name__ == "__main__":
    main()
