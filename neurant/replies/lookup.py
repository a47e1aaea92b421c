"""The search for the questions of a turn: one verdict for each, from the better of its readings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from neurant.core.db.pool import Connection
from neurant.knowledge.answer import Verdict, judge
from neurant.knowledge.rank import Ranked
from neurant.knowledge.search import search_within
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


async def look_up(connection: Connection, chatbot_id: UUID, turn: Turn) -> list[Finding]:
    """Search for every question of a turn in the caller's transaction."""
    findings = []
    for part in turn.parts:
        trials = []
        for reading in part.readings:
            ranked = await search_within(connection, chatbot_id, reading.text, list(reading.vector))
            trials.append((reading, ranked))
        findings.append(better(part, trials))
    return findings


def better(part: Part, trials: Sequence[tuple[Reading, Sequence[Ranked]]]) -> Finding:
    """Return the finding of the reading that the documents answer best."""
    found = [
        Finding(part.asked, reading.text, ranked, judge(reading.text, ranked))
        for reading, ranked in trials
    ]
    first, *others = found
    for other in others:
        if (other.verdict.confidence or 0.0) > (first.verdict.confidence or 0.0) + _PREFERENCE:
            first = other
    return first
