"""The explanation of a decision, made of what the reply already knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal
from uuid import UUID

from neurant.conversations.explanation import (
    MAX_EXCERPT_CHARS,
    MAX_NAME_CHARS,
    MAX_PASSAGES,
    MAX_QUESTION_CHARS,
    MAX_REPAIRED,
    MAX_WORD_CHARS,
    ExplainedPassage,
    Explanation,
    RepairedWord,
)
from neurant.knowledge.answer import THRESHOLD, Verdict, display_name
from neurant.knowledge.rank import Ranked
from neurant.replies.decide import Decision

_DECISIONS: Mapping[str, Literal["answer", "escalate"]] = {
    "answer": "answer",
    "escalate": "escalate",
}


def explained(decision: Decision) -> Explanation:
    """Return the explanation of a decision for which nothing was searched."""
    return Explanation(
        turn="question" if decision.by in ("failed", "no_answer", "documents") else decision.by,
        decision=_DECISIONS.get(decision.action, "notice"),
        reason=_reason(decision),
        keyword=decision.detail if decision.by == "keywords" else None,
    )


def _reason(decision: Decision) -> str:
    if decision.by == "small_talk":
        return "courtesy"
    if decision.by == "user_request" and decision.action != "escalate":
        return "no_people"
    return decision.by


def explained_search(
    action: str,
    question: str,
    ranked: Sequence[Ranked],
    verdict: Verdict,
    *,
    threshold: float = THRESHOLD,
    turn: str = "question",
) -> Explanation:
    """Return the explanation of a reply (its ``action``) that followed a search."""
    if verdict.answer is not None:
        reason = "documents"
    else:
        reason = "nothing_found" if verdict.confidence is None else "below_threshold"
    quoted = {one.chunk_id for one in verdict.answer.sources} if verdict.answer else set()
    return Explanation(
        turn=turn,
        decision=_DECISIONS.get(action, "notice"),
        reason=reason,
        question=question[:MAX_QUESTION_CHARS],
        repaired=[
            RepairedWord(written=one.typed[:MAX_WORD_CHARS], read=one.meant[:MAX_WORD_CHARS])
            for one in verdict.repaired[:MAX_REPAIRED]
        ],
        confidence=verdict.confidence,
        threshold=threshold,
        passages=[
            _passage(one, is_quoted=one.candidate.chunk_id in quoted)
            for one in _shown(ranked, quoted)
        ],
    )


def _shown(ranked: Sequence[Ranked], quoted: set[UUID]) -> list[Ranked]:
    """Return the best passages, and a quoted one in any case."""
    best = list(ranked[:MAX_PASSAGES])
    missing = [one for one in ranked[MAX_PASSAGES:] if one.candidate.chunk_id in quoted]
    return best[: MAX_PASSAGES - len(missing[:MAX_PASSAGES])] + missing[:MAX_PASSAGES]


def _passage(one: Ranked, *, is_quoted: bool) -> ExplainedPassage:
    found = one.candidate
    return ExplainedPassage(
        chunk_id=found.chunk_id,
        document=display_name(found.document)[:MAX_NAME_CHARS],
        page=found.page_number,
        section=found.section_title[:MAX_NAME_CHARS] if found.section_title else None,
        excerpt=_beginning(found.content),
        score=round(one.score, 3),
        similarity=None if found.similarity is None else round(found.similarity, 3),
        lexical=None if found.lexical is None else round(found.lexical, 3),
        is_quoted=is_quoted,
    )


def _beginning(content: str) -> str:
    """Return the first words of a passage on one line, with "…" where it goes on."""
    line = " ".join(content[: 2 * MAX_EXCERPT_CHARS].split())
    if len(line) <= MAX_EXCERPT_CHARS:
        return line
    words, space, _ = line[: MAX_EXCERPT_CHARS - 1].rpartition(" ")
    return f"{words if space else line[: MAX_EXCERPT_CHARS - 1]}…"
