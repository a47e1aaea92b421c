"""An answer quoted from the company's documents, or the decision that there is none.

A small logistic model decides whether a passage answers. Its signals fail in different ways: how
near the question and the passage are in meaning, how far the passage stands out among the
candidates, how much of the question its best lines contain, and whether they look like the kind of
answer asked for. An English question to a Spanish passage has a model of its own, because the words
of the two say little about each other. ``bench/calibrate_answers.py`` fits the coefficients on
labelled questions and prints them. No signal costs an embedding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from uuid import UUID

from neurant.knowledge.border import grown
from neurant.knowledge.figure_guard import guarded
from neurant.knowledge.passage import (
    Question,
    Window,
    asks_something,
    best_window,
    cover,
    read_question,
    weights,
)
from neurant.knowledge.phrasing import phrase
from neurant.knowledge.rank import Candidate, Found, Ranked
from neurant.knowledge.repair import RepairedWord
from neurant.knowledge.selection import Chosen, all_that_answer
from neurant.knowledge.words import bare_question, condensed, written_language
from neurant.texts import text

CONSIDERED = 8
_LEAST_SCORE = 1e-12
MAX_QUESTION_CHARS = 1_000
WINDOW_WEIGHT = 4.7
# The lead is squared: a label with half of the question is worth much less than half an answer.
LEAD_WEIGHT = 5.2


@dataclass(frozen=True, slots=True)
class Source:
    """The place of a quote. ``quote`` is literal text of the document."""

    document: str
    page: int | None
    quote: str
    chunk_id: UUID


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer composed of quotes; ``confidence`` is the calibrated probability (0..1) of it.

    Its ``text`` contains literal pieces of the sources and no figure that they lack.
    """

    text: str
    sources: list[Source]
    confidence: float


@dataclass(frozen=True, slots=True)
class Signals:
    """The inputs of the decision, for one question and its best passage."""

    similarity: float
    stand_out: float
    coverage: float
    passage_coverage: float
    anywhere: float
    kind_shown: float
    kind_missing: float
    few_words: float

    def vector(self) -> list[float]:
        """Return the numbers in the order of ``COEFFICIENTS``."""
        return [
            (self.similarity - 0.85) * 20,
            self.stand_out * 20,
            self.coverage,
            self.passage_coverage,
            self.anywhere,
            self.kind_shown,
            self.kind_missing,
            self.few_words,
        ]

    def foreign_vector(self) -> list[float]:
        """Return the numbers in the order of ``FOREIGN_COEFFICIENTS``."""
        return [
            (self.similarity - 0.85) * 20,
            self.stand_out * 20,
            self.passage_coverage,
            self.anywhere,
        ]


INTERCEPT = -4.37
COEFFICIENTS = (1.72, 1.37, 1.83, 2.72, 1.72, 1.15, 0.63, -1.18)
# A question in another language than the passage. The intercept is raised by 0.2, so that one
# threshold serves both models.
FOREIGN_INTERCEPT = 0.09
FOREIGN_COEFFICIENTS = (1.82, 0.67, 1.49, 1.51)
THRESHOLD = 0.55


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision about a question.

    ``answer`` is None below the threshold, ``confidence`` (0..1) is the calibrated probability that
    the best passage answers: it also belongs to a refusal, and is None only where there was nothing
    to compare. ``repaired`` are the words that were searched otherwise than typed.
    """

    answer: Answer | None
    confidence: float | None
    repaired: tuple[RepairedWord, ...] = ()


def judge(question: str, ranked: Sequence[Ranked], threshold: float = THRESHOLD) -> Verdict:
    """Decide whether a passage answers ``question``, and quote it if it does.

    ``ranked`` comes from the search, best first; a ``Found`` has the question with its words
    repaired, which counts. The quote is data of the company and is never interpreted.
    """
    repaired = ranked.repaired if isinstance(ranked, Found) else ()
    found = choose(question, ranked)
    if found is None:
        return Verdict(None, None, repaired)
    candidate, window, signals = found
    typed = ranked.question if isinstance(ranked, Found) else question
    asked, written = written_language(typed), written_language(_passage(candidate))
    foreign = asked is not None and written is not None and asked != written
    confidence = round(probability(signals, foreign=foreign), 3)
    if confidence < threshold:
        return Verdict(None, confidence, repaired)
    answer = _composed(typed, ranked, (candidate, window), confidence)
    if answer is not None and foreign:
        note = text(f"replies.quoted_from_{written}", asked or "es")
        answer = replace(answer, text=f"{note}\n{answer.text}")
    return Verdict(answer, confidence, repaired)


def _composed(
    question: str, ranked: Sequence[Ranked], best: Chosen, confidence: float
) -> Answer | None:
    """Return the answer in a sentence, with a source for each passage that it was composed of."""
    bare = bare_question(condensed(question, MAX_QUESTION_CHARS))
    asked = _asked(condensed(question, MAX_QUESTION_CHARS))
    chosen = all_that_answer(bare, asked, ranked, best)
    quotes = [grown(window.quote, candidate) for candidate, window in chosen]
    said = phrase(asked, bare, [window for _, window in chosen])
    cited: list[str] = []
    for (_, window), quote in zip(chosen, quotes, strict=True):
        said = said.replace(window.quote, quote)  # the border of the passage had cut it
        cited.append(f"{window.heading}\n{window.header}\n{quote}")
    sources = [
        Source(candidate.document, candidate.page_number, quote, candidate.chunk_id)
        for (candidate, _), quote in zip(chosen, quotes, strict=True)
    ]
    kept = guarded(said, cited)
    return Answer(kept, sources, confidence) if kept else None


def choose(question: str, ranked: Sequence[Ranked]) -> tuple[Candidate, Window, Signals] | None:
    """Return the best passage with its best lines and signals; None without anything to compare."""
    typed = ranked.question if isinstance(ranked, Found) else question
    asked = _asked(condensed(typed, MAX_QUESTION_CHARS))
    if not ranked or not asks_something(asked):
        return None
    considered = ranked[:CONSIDERED]
    passages = [_passage(one.candidate) for one in ranked]
    weight = weights(asked, passages)
    best: tuple[float, Candidate, Window] | None = None
    for one in considered:
        window = best_window(asked, weight, one.candidate.content, one.candidate.section_title)
        if window is None:
            continue
        score = math.log(max(one.score, _LEAST_SCORE))
        score += WINDOW_WEIGHT * window.coverage + LEAD_WEIGHT * window.lead**2
        if best is None or score > best[0]:
            best = (score, one.candidate, window)
    if best is None:
        return None
    _, candidate, window = best
    return candidate, window, _signals(asked, weight, ranked, passages, candidate, window)


def _asked(text: str) -> Question:
    """Parse the question without its preamble, or with it where only the preamble has a subject."""
    bare = read_question(bare_question(text))
    return bare if asks_something(bare) else read_question(text)


def _passage(candidate: Candidate) -> str:
    return f"{candidate.section_title or ''}\n{candidate.content}"


def _signals(
    asked: Question,
    weight: dict[str, float],
    ranked: Sequence[Ranked],
    passages: Sequence[str],
    candidate: Candidate,
    window: Window,
) -> Signals:
    known = [one.candidate.similarity for one in ranked if one.candidate.similarity is not None]
    similarity = candidate.similarity
    if similarity is None:
        # Only the word search found it, so it is at most as near as the farthest vector result.
        similarity = min(known, default=0.8)
    others = [
        one.candidate.similarity
        for one in ranked
        if one.candidate.similarity is not None and one.candidate is not candidate
    ]
    covered = cover(asked, weight, f"{candidate.document}\n{_passage(candidate)}")
    anywhere = cover(asked, weight, "\n".join(passages))
    if not asked.stems:  # "¿dónde quedan?" has no words of its own; its kind of answer counts
        covered = anywhere = window.coverage
    return Signals(
        similarity=similarity,
        stand_out=similarity - fmean(others) if others else 0.0,
        coverage=window.coverage,
        passage_coverage=covered,
        anywhere=anywhere,
        kind_shown=1.0 if window.evidence is True else 0.0,
        kind_missing=1.0 if window.evidence is False else 0.0,
        few_words=1.0 / (1 + len(asked.stems)),
    )


def probability(signals: Signals, *, foreign: bool = False) -> float:
    """Return the logistic model's probability that the passage answers the question.

    ``foreign``: the question is in another language than the passage.
    """
    model = (
        (FOREIGN_INTERCEPT, FOREIGN_COEFFICIENTS, signals.foreign_vector())
        if foreign
        else (INTERCEPT, COEFFICIENTS, signals.vector())
    )
    intercept, coefficients, values = model
    total = intercept + sum(c * value for c, value in zip(coefficients, values, strict=True))
    return 1 / (1 + math.exp(-total))


def display_name(document: str) -> str:
    """Return a document's name without the file's extension, as a person would say it."""
    stem, dot, extension = document.rpartition(".")
    return stem if dot and stem and extension.lower() in ("pdf", "docx", "txt", "md") else document
