"""The search for the questions of a turn: one verdict for each, from the better of its readings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from neurant.core.db.pool import Connection
from neurant.knowledge.answer import Answer, Verdict, judge
from neurant.knowledge.passage import read_question
from neurant.knowledge.rank import Found, Ranked
from neurant.knowledge.search import search_within
from neurant.knowledge.words import likeness, stems
from neurant.understanding.context import follow_up
from neurant.understanding.turn import Part, Reading, Turn

# A follow-up that is completed with its context is preferred to the bare words, unless these answer
# clearly better.
_PREFERENCE = 0.1


@dataclass(frozen=True, slots=True)
class Finding:
    """The documents' verdict on one question. ``searched`` is the text that was searched for."""

    asked: str
    searched: str
    ranked: Sequence[Ranked]
    verdict: Verdict


async def look_up(connection: Connection, chatbot_id: UUID, turn: Turn) -> tuple[Finding, ...]:
    """Search for every question of a turn in the caller's transaction."""
    findings: list[Finding] = []
    for part in turn.parts:
        trials = []
        for reading in part.readings:
            ranked = await search_within(connection, chatbot_id, reading.prepared)
            trials.append((reading, ranked))
        findings.append(better(part, trials))
    return tuple(findings)


def better(part: Part, trials: Sequence[tuple[Reading, Sequence[Ranked]]]) -> Finding:
    """Return the finding of the reading that the documents answer best.

    A reading that completes a whole question counts only if its answer has a word of the question
    itself: the context alone does not answer.
    """
    found = [
        Finding(part.asked, reading.text, ranked, judge(reading.text, ranked))
        for reading, ranked in trials
    ]
    first, *others = [one for one in found if _has_own_words(one)] or found[-1:]
    for other in others:
        if (other.verdict.confidence or 0.0) > (first.verdict.confidence or 0.0) + _PREFERENCE:
            first = other
    return first


def _has_own_words(finding: Finding) -> bool:
    answer = finding.verdict.answer
    if answer is None or finding.asked == finding.searched or follow_up(finding.asked):
        return True
    own = read_question(finding.asked).stems
    cited = {source.chunk_id for source in answer.sources}
    headings = [
        f"{one.candidate.document} {one.candidate.section_title or ''}"
        for one in finding.ranked
        if one.candidate.chunk_id in cited
    ]
    words = frozenset(stems("\n".join([answer.text, *headings])))
    return not own or any(likeness(stem, words) > 0 for stem in own)


def joined(asked: str, findings: Sequence[Finding]) -> Finding:
    """Return the findings of a turn as one: its passages, and all answers as one answer.

    The confidence is that of the least certain answer, or of the likeliest answer that was not
    given.
    """
    if len(findings) == 1:
        return findings[0]
    best: dict[UUID, Ranked] = {}
    for one in sorted((one for each in findings for one in each.ranked), key=lambda r: -r.score):
        best.setdefault(one.candidate.chunk_id, one)
    repaired = tuple(dict.fromkeys(word for one in findings for word in one.verdict.repaired))
    answers = [one.verdict.answer for one in findings if one.verdict.answer is not None]
    known = [one.verdict.confidence for one in findings if one.verdict.confidence is not None]
    answer, confidence = None, max(known, default=None)
    if answers:
        confidence = min(one.confidence for one in answers)
        texts = dict.fromkeys(one.text for one in answers)
        sources = dict.fromkeys(source for one in answers for source in one.sources)
        answer = Answer("\n\n".join(texts), list(sources), confidence)
    ranked = Found(tuple(best.values()), asked, repaired)
    return Finding(asked, asked, ranked, Verdict(answer, confidence, repaired))
