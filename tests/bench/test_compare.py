"""Two commits are compared by one rule; the old commit is measured with today's benches."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench.compare import Compared, extract, report

ROOT = Path(__file__).resolve().parents[2]
OLD = [10.0, 10.2, 9.8, 10.4, 10.0]


@pytest.mark.parametrize(
    ("old", "new", "is_worse"),
    [
        (OLD, [10.4] * 5, False),  # within 5 %
        (OLD, [10.6] * 5, True),  # 6 % more, outside 9.8 to 10.4
        ([10.0, 10.0, 10.0, 12.0, 10.0], [11.0] * 5, False),  # 10 % more, inside the old range
        (OLD, [5.0] * 5, False),  # better
        (OLD, [10.6, 10.6, 10.6, 1.0, 1.0], True),  # the median decides
        ([], [10.0], False),  # nothing to compare with
    ],
)
def test_worse_is_more_than_five_percent_and_outside_the_old_range(
    old: list[float], new: list[float], is_worse: bool
) -> None:
    assert Compared(False, old, new).is_worse is is_worse


def test_a_rate_is_worse_when_it_is_lower() -> None:
    assert Compared(True, OLD, [9.0] * 5).is_worse
    assert not Compared(True, OLD, [9.7] * 5).is_worse
    assert not Compared(True, OLD, [12.0] * 5).is_worse


def test_a_figure_that_is_worse_and_a_crash_decide_the_exit_status(
    capsys: pytest.CaptureFixture[str],
) -> None:
    well, worse = Compared(False, OLD, OLD), Compared(False, OLD, [20.0] * 5)
    assert report({"read, ms": well}, []) == 0
    assert report({"read, ms": well, "write, ms": worse}, []) == 1
    assert "| **WORSE** | write, ms | 10.0 (9.80 to 10.4) | 20.0 (20.0 to 20.0) |" in (
        capsys.readouterr().out
    )
    assert report({"read, ms": well}, ["rates, old, round 1: ValueError"]) == 2


def test_the_old_commit_gets_todays_benches_and_keeps_its_own_code(tmp_path: Path) -> None:
    tree = tmp_path / "old"
    extract("HEAD", tree)
    for path in ("bench/run.py", "bench/measurements/rates.py", "bench/sql/ingest_batch.sql"):
        assert (tree / path).read_bytes() == (ROOT / path).read_bytes()
    committed = subprocess.run(
        ["git", "show", "HEAD:bench/product.py"], cwd=ROOT, capture_output=True, check=True
    )
    assert (tree / "bench/product.py").read_bytes() == committed.stdout
    assert (tree / "neurant/app.py").exists()
    assert not (tree / ".git").exists()
