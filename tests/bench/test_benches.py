"""Every measurement runs at a tiny size; a crash and a goal that is not reached are both visible."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import bench.__main__ as command
from bench.figures import Figure, NotMeasuredError, line
from bench.run import Outcome, run

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(
    path.stem for path in (ROOT / "bench" / "measurements").glob("*.py") if path.stem != "__init__"
)
# A part of a measurement may be missing for one of these reasons only.
ALLOWED_REASONS = ("the figures of SQuAD-es", "the figure of a real browser")

GREEN = Figure("quick", "a quick read", 9.0, "ms", "a plain read", 10.0, 0.9, "-", goal=1.05)
RED = replace(GREEN, id="slow", title="a slow read", measured=20.0, ratio=2.0)


def committed_results() -> tuple[bytes, ...]:
    """The files that only a full run may write."""
    return tuple(path.read_bytes() for path in sorted((ROOT / "bench").glob("results.[jm]*")))


@pytest.fixture(scope="module")
def committed() -> tuple[bytes, ...]:
    """The committed results before the tiny run."""
    return committed_results()


@pytest.fixture(scope="module")
def outcomes(
    committed: tuple[bytes, ...], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, dict[str, Any]]:
    """All measurements in one tiny run, which share a server and a platform."""
    file = tmp_path_factory.mktemp("bench") / "outcomes.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--json", str(file)],
        cwd=ROOT, env={**os.environ, "BENCH_SIZE": "tiny"}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert file.exists(), done.stdout + done.stderr
    return {one["name"]: one for one in json.loads(file.read_text("utf-8"))}


@pytest.mark.parametrize("name", NAMES)
def test_a_measurement_runs_and_gives_figures(
    name: str, outcomes: dict[str, dict[str, Any]]
) -> None:
    outcome = outcomes[name]
    assert outcome["crashed"] is None
    assert outcome["figures"]
    assert (outcome["not_measured"] or ALLOWED_REASONS[0]).startswith(ALLOWED_REASONS)


def test_every_figure_has_its_own_id_and_a_baseline_of_the_same_run(
    outcomes: dict[str, dict[str, Any]],
) -> None:
    figures = [Figure(**one) for outcome in outcomes.values() for one in outcome["figures"]]
    assert len({figure.id for figure in figures}) == len(figures)
    assert [one.id for one in figures if not one.baseline or one.baseline_measured < 0] == []
    assert [one.id for one in figures if one.unit != "of 1" and not one.baseline_measured] == []


def test_a_tiny_run_leaves_the_committed_results_alone(
    committed: tuple[bytes, ...], outcomes: dict[str, dict[str, Any]]
) -> None:
    assert outcomes
    assert committed_results() == committed


@pytest.fixture
def measurement(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Iterator[Figure]]], str]:
    """Adds a measurement; its name."""

    def add(measure: Callable[[], Iterator[Figure]]) -> str:
        module = types.ModuleType("bench.measurements.added")
        module.measure = measure  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "bench.measurements.added", module)
        return "added"

    return add


def test_a_crash_is_an_outcome_with_its_reason_and_the_figures_before_it(
    measurement: Callable[[Callable[[], Iterator[Figure]]], str],
) -> None:
    def measure() -> Iterator[Figure]:
        yield GREEN
        raise ValueError("limit reached: channels")

    outcome = run(measurement(measure))
    assert outcome.crashed == "ValueError: limit reached: channels"
    assert outcome.figures == [GREEN]
    assert command.summary([outcome]) == command.CRASHED


def test_a_crash_does_not_stop_the_measurements_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = sys.executable
    started: list[list[str]] = []

    def start(words: list[str], **given: Any) -> subprocess.CompletedProcess[bytes]:
        started.append(words)
        return subprocess.CompletedProcess(words, -9)

    monkeypatch.setattr(subprocess, "run", start)
    outcomes = command.run_all(["first", "second"])
    assert [words[:4] for words in started] == [
        [real, "-m", "bench", name] for name in ("first", "second")
    ]
    assert [one.crashed for one in outcomes] == ["the process ended with status -9"] * 2


def test_a_measurement_without_a_figure_is_a_crash(
    measurement: Callable[[Callable[[], Iterator[Figure]]], str],
) -> None:
    assert run(measurement(lambda: iter(()))).crashed


def test_a_measurement_that_cannot_be_made_here_says_why(
    measurement: Callable[[Callable[[], Iterator[Figure]]], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    def measure() -> Iterator[Figure]:
        yield GREEN
        raise NotMeasuredError("there is no browser")

    outcome = run(measurement(measure))
    assert (outcome.crashed, outcome.not_measured) == (None, "there is no browser")
    assert command.summary([outcome]) == command.GREEN
    assert "NOT MEASURED: added: there is no browser" in capsys.readouterr().out


def test_a_goal_that_is_not_reached_is_shown_and_decides_the_exit_status(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.summary([Outcome("reads", 1, [GREEN, RED])]) == command.RED
    printed = capsys.readouterr().out
    assert "1 RED" in printed
    assert line(RED) in printed
    assert "quick" not in printed


def test_a_process_that_dies_without_a_word_is_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert command.run_in_process("rates").crashed == "the process ended with status 1"


def test_an_unknown_name_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "no_such_bench"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "no measurement is called no_such_bench" in done.stderr


@pytest.mark.parametrize(
    ("figure", "is_green"),
    [
        (replace(GREEN, ratio=1.05), True),
        (replace(GREEN, ratio=1.06), False),
        (replace(GREEN, goal=9.0, goal_on="measured"), True),
        (replace(GREEN, goal=8.9, goal_on="measured"), False),
        (replace(GREEN, goal=0.9, higher_is_better=True), True),
        (replace(GREEN, goal=0.91, higher_is_better=True), False),
        (replace(RED, goal=None), True),
    ],
)
def test_a_goal_limits_the_ratio_or_the_measured_value(figure: Figure, is_green: bool) -> None:
    assert figure.is_green is is_green
