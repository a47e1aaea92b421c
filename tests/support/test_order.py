"""The files that take longest start first: the list names files that exist, each once."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_slow_file_exists_and_is_named_once() -> None:
    slow = (ROOT / "tests" / "slow_files.txt").read_text("utf-8").split()
    assert [name for name in slow if not (ROOT / name).is_file()] == []
    assert len(slow) == len(set(slow))
