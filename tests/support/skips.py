"""Skipped tests in continuous integration: only those that ``allowed_skips.toml`` lists, with a reason.

A skipped test proves nothing. With ``CI=true`` a skip that is not listed makes the run fail.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

ALLOWED = Path(__file__).parents[1] / "allowed_skips.toml"
_skipped: dict[str, str] = {}


def _note_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Remember a test, or a whole file, that was skipped."""
    if report.skipped and not hasattr(report, "wasxfail"):
        told = report.longrepr
        _skipped[report.nodeid] = str(told[2]) if isinstance(told, tuple) else str(told)


def _unlisted() -> list[str]:
    """The skipped tests that the list does not name; none outside continuous integration."""
    if os.environ.get("CI", "").lower() not in ("true", "1"):
        return []
    listed = tomllib.loads(ALLOWED.read_text("utf-8"))
    return [
        f"{test}: {said}"
        for test, said in sorted(_skipped.items())
        if test.partition("[")[0] not in listed
    ]


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note_skip(report)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note_skip(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run; a run that failed already keeps its status."""
    if _unlisted() and session.exitstatus in (
        pytest.ExitCode.OK,
        pytest.ExitCode.NO_TESTS_COLLECTED,
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in _unlisted():
        terminalreporter.write_line(f"skipped, but not in allowed_skips.toml: {line}", red=True)
