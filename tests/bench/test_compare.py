"""Two commits are compared by one rule; the old commit is measured with today's benches."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench import compare
from bench.compare import Compared, report

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


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone of this checkout, which the comparison takes for its own."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--shared", str(ROOT), str(clone)], check=True)
    monkeypatch.setattr(compare, "ROOT", clone)
    return clone


def commit(checkout: Path, files: dict[str, str]) -> str:
    """Commit these files; the commit."""
    for name, text in files.items():
        (checkout / "bench" / name).write_text(text)
    who = ("-c", "user.name=bench", "-c", "user.email=bench@bench.example")
    for words in (("add", "bench"), (*who, "commit", "--quiet", "-m", "bench")):
        subprocess.run(["git", *words], cwd=checkout, check=True)
    command = ["git", "rev-parse", "HEAD"]
    return subprocess.run(
        command, cwd=checkout, capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_old_commit_gets_todays_benches_and_keeps_the_names_of_its_own_product(
    checkout: Path, tmp_path: Path
) -> None:
    old = commit(
        checkout, {"product.py": "# old names", "peer.py": "# old peer", "run.py": "# old"}
    )
    commit(checkout, {"product.py": "# new names", "peer.py": "# new peer", "run.py": "# new"})
    tree = tmp_path / "old"
    compare.extract(old, tree)
    texts = {
        name: (tree / "bench" / name).read_text() for name in ("product.py", "peer.py", "run.py")
    }
    assert texts == {"product.py": "# old names", "peer.py": "# old peer", "run.py": "# new"}
    assert (tree / "neurant" / "runtime" / "app.py").exists()
    modules = {path.name for path in (checkout / "bench").glob("*.py")}
    assert {path.name for path in (tree / "bench").glob("*.py")} == modules
    assert not (tree / ".git").exists()


def test_an_old_commit_without_these_files_gets_todays(checkout: Path, tmp_path: Path) -> None:
    for name in ("product.py", "peer.py"):
        (checkout / "bench" / name).unlink()
    old = commit(checkout, {})
    commit(checkout, {"product.py": "# new names", "peer.py": "# new peer"})
    compare.extract(old, tmp_path / "old")
    assert (tmp_path / "old" / "bench" / "product.py").read_text() == "# new names"
