"""Two searches, one order."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from neurant.knowledge.rank import Candidate, fuse


def candidate(number: int, similarity: float | None, lexical: float | None) -> Candidate:
    ident = UUID(int=number)
    return Candidate(ident, ident, "a.txt", None, None, f"text {number}", similarity, lexical)


# PostgreSQL's ts_rank is a real: no double is so small that a scale makes it nothing.
SCORES = st.none() | st.floats(0, 1, width=32, allow_subnormal=False)
CANDIDATES = st.lists(st.tuples(SCORES, SCORES), max_size=30).map(
    lambda pairs: [candidate(number, *pair) for number, pair in enumerate(pairs)]
)


@given(CANDIDATES)
def test_every_candidate_comes_back_once_with_a_score_between_0_and_1(
    candidates: list[Candidate],
) -> None:
    ranked = fuse(candidates)
    assert sorted(one.candidate.chunk_id for one in ranked) == [c.chunk_id for c in candidates]
    assert all(0 <= one.score <= 1 + 1e-9 for one in ranked)
    assert [one.score for one in ranked] == sorted((one.score for one in ranked), reverse=True)


@given(CANDIDATES)
def test_the_order_in_which_candidates_arrive_makes_no_difference(
    candidates: list[Candidate],
) -> None:
    assert fuse(candidates) == fuse(candidates[::-1])


@given(CANDIDATES, st.sampled_from([2.0**-6, 4.0, 1024.0]))
def test_the_scale_of_the_full_text_score_makes_no_difference(
    candidates: list[Candidate], factor: float
) -> None:
    scaled = [
        candidate(n, c.similarity, None if c.lexical is None else c.lexical * factor)
        for n, c in enumerate(candidates)
    ]
    close = zip(fuse(candidates), fuse(scaled), strict=True)
    assert all(abs(left.score - right.score) < 1e-6 for left, right in close)


def test_two_points_of_cosine_weigh_as_much_as_two_fifths_of_the_best_words_score() -> None:
    ranked = fuse([candidate(1, 0.90, 0.0), candidate(2, 0.88, 0.5), candidate(3, 0.85, 0.25)])
    assert [one.candidate.chunk_id.int for one in ranked] == [2, 1, 3]
    assert [round(one.score, 3) for one in ranked] == [1.0, 0.079, 0.006]


def test_a_score_that_a_search_did_not_give_counts_as_its_lowest() -> None:
    ranked = fuse([candidate(1, None, 0.5), candidate(2, 0.8, None), candidate(3, 0.9, 0.1)])
    assert [one.candidate.chunk_id.int for one in ranked] == [3, 1, 2]


def test_nothing_found_gives_nothing() -> None:
    assert fuse([]) == []
