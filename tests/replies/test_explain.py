"""The explanation of a decision, made of what the reply already knows."""

from __future__ import annotations

import json
import uuid

from neurant.conversations.explanation import MAX_EXCERPT_CHARS, MAX_PASSAGES
from neurant.knowledge.answer import Answer, Source, Verdict
from neurant.knowledge.rank import Candidate, Ranked
from neurant.knowledge.repair import RepairedWord
from neurant.replies.decide import Decision
from neurant.replies.explain import explained, explained_search

MAX_CHARS = 8_000  # the check of the database
QUESTION = "¿Qué incluye la matrícula?"


def passage(score: float, content: str = "La matrícula incluye el carné. " * 30) -> Ranked:
    found = Candidate(
        chunk_id=uuid.uuid4(), document_id=uuid.uuid4(), document="Reglamento.pdf", page_number=3,
        section_title="Matrícula", content=content, similarity=0.87654, lexical=None,
    )  # fmt: skip
    return Ranked(found, score)


def test_the_best_passages_are_kept_and_the_quoted_one_in_any_case() -> None:
    ranked = [passage(1 - n / 20) for n in range(12)]
    quoted = ranked[9].candidate.chunk_id
    answer = Answer("El carné.", [Source("Reglamento.pdf", 3, "El carné.", quoted)], 0.8)
    told = explained_search("answer", QUESTION, ranked, Verdict(answer, 0.8))
    assert len(told.passages) == MAX_PASSAGES
    assert [one.chunk_id for one in told.passages if one.is_quoted] == [quoted]
    assert (told.reason, told.decision, told.confidence) == ("documents", "answer", 0.8)
    assert told.passages[0].document == "Reglamento"
    assert told.passages[0].similarity == 0.877
    assert len(told.passages[0].excerpt) <= MAX_EXCERPT_CHARS
    assert told.passages[0].excerpt.endswith(("carné.…", "incluye…", "el…", "La…", "matrícula…"))


def test_a_refusal_says_whether_anything_was_compared() -> None:
    weak = explained_search("escalate", QUESTION, [passage(1)], Verdict(None, 0.2))
    assert (weak.reason, weak.decision, weak.confidence) == ("below_threshold", "escalate", 0.2)
    nothing = explained_search("escalate", QUESTION, [], Verdict(None, None))
    assert (nothing.reason, nothing.passages) == ("nothing_found", [])


def test_it_fits_the_database_whatever_was_written() -> None:
    long = "🦷" * 5_000
    ranked = [passage(1, long) for _ in range(20)]
    words = tuple(RepairedWord(f"{n}{long}", long) for n in range(50))
    told = explained_search("answer", long, ranked, Verdict(None, 0.1, words))
    assert len(json.dumps(told.model_dump(mode="json"), ensure_ascii=False)) < MAX_CHARS


def test_the_kind_of_turn_follows_from_the_decision() -> None:
    for decision, turn, reason in (
        (Decision("answer", by="small_talk"), "small_talk", "courtesy"),
        (Decision("answer", by="user_request"), "user_request", "no_people"),
        (
            Decision("escalate", reason="user_request", by="user_request"),
            "user_request",
            "user_request",
        ),
        (Decision("notice", by="inactive"), "inactive", "inactive"),
    ):
        told = explained(decision)
        assert (told.turn, told.reason) == (turn, reason)
    keyword = explained(Decision("escalate", reason="keywords", detail="queja", by="keywords"))
    assert (keyword.turn, keyword.keyword) == ("keywords", "queja")
