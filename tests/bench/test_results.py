"""The committed results: what they show, and what README may quote from them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.figures import Figure
from bench.results import (
    Results,
    from_json,
    readme_paragraph,
    rendered,
    to_json,
    wrong_claims,
)
from bench.run import Outcome

READ = Figure("read", "a read", 9.0, "ms", "a plain read", 10.0, 0.9, "one client", goal=1.05)
QUOTED = [
    replace(READ, id="web_answer", measured=208.4),
    replace(READ, id="web_answer_browser", measured=209.0),
    replace(READ, id="telegram_answer", measured=210.0),
    replace(READ, id="start_cold", measured=7.21, unit="s"),
    replace(READ, id="start_warm", measured=2.9, unit="s"),
    replace(READ, id="memory_idle", measured=314.0, unit="MB"),
]


@pytest.fixture
def results() -> Results:
    outcomes = [
        Outcome("web_answer", 60.0, QUOTED),
        Outcome("reads", 1.0, [replace(READ, id="slow", title="a slow read", ratio=2.0)]),
        Outcome("rates", 1.0, crashed="ValueError: limit reached: channels"),
        Outcome("answers", 1.0, [READ], not_measured="SQuAD-es is not there"),
    ]
    return Results("2026-11-30", "abc1234", "Some CPU", 2, 16, outcomes)


def test_results_are_read_as_they_were_written(results: Results) -> None:
    assert from_json(to_json(results)) == results


def test_the_page_shows_date_commit_machine_goals_and_what_is_red_or_missing(
    results: Results,
) -> None:
    page = rendered(results)
    assert (
        "2026-11-30, commit abc1234, 2 cores (Some CPU), 16 GB of memory. 8 figures, 1 red" in page
    )
    assert (
        "| 🔴 **RED** | a slow read | 9.00 ms | 2.00 | a plain read: 10.0 ms | ratio <= 1.05 |"
        in page
    )
    assert "| 🟢 green | a read | 9.00 ms | 0.900 | a plain read: 10.0 ms | ratio <= 1.05 |" in page
    assert "- CRASHED: rates: ValueError: limit reached: channels" in page
    assert "- not measured: answers: SQuAD-es is not there" in page
    assert readme_paragraph(results) in page


def test_readme_may_quote_the_results_and_nothing_else(results: Results) -> None:
    quoted = readme_paragraph(results)
    assert "208 ms" in quoted
    assert "7.21 s" in quoted
    wrapped = quoted.replace(" with 20 visitors", "\nwith 20 visitors")
    assert wrong_claims(f"# NeurAnt\n{wrapped} More text.", results) == []


@pytest.mark.parametrize(
    "change",
    [("208 ms", "180 ms"), ("2026-11-30", "2026-12-01"), ("abc1234", "abc1235"), ("1 of them", "0 of them")],
)  # fmt: skip
def test_a_readme_that_differs_from_the_results_is_wrong(
    results: Results, change: tuple[str, str]
) -> None:
    assert wrong_claims(readme_paragraph(results).replace(*change), results)


def test_a_figure_beside_the_quoted_ones_is_wrong(results: Results) -> None:
    readme = readme_paragraph(results) + " Searching takes 3.5 ms."
    assert wrong_claims(readme, results) == ["README has a figure that no result proves: 3.5 ms"]
