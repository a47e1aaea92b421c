"""Compare the figures of this checkout with those of an older commit.

``python -m bench.compare OLD_COMMIT [NAME ...]`` takes the files of the old commit out of git, puts
today's benches over them, and runs old and new by turns for five rounds. Two files stay those of the
old commit, if it has them: ``product.py`` and ``peer.py``, which import the product and its tests.

A figure is worse when its new median is more than 5 % worse than the old median and outside the range
of the old rounds. Exit status: 1 if a figure is worse, 2 if a measurement crashed on one side.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile

from bench.figures import Figure, number
from bench.results import outcome_from
from bench.run import Outcome, names
from bench.support import ROOT, empty_folder, median

ROUNDS = 5
ALLOWED = 1.05
NEEDS_NETWORK = "install"  # it downloads; compared only if it is named
_OF_THE_COMMIT = ("product.py", "peer.py")  # the files that import the product and its tests
_BUILT = "neurant/console/static/vendor"  # made by make setup, not committed


@dataclass
class Compared:
    """The values of one figure on both sides, round by round."""

    higher_is_better: bool
    old: list[float] = field(default_factory=list)
    new: list[float] = field(default_factory=list)

    @property
    def is_worse(self) -> bool:
        """Return whether the new median is over 5 % worse and outside the old values' range."""
        if not self.old or not self.new:
            return False
        old, new = median(self.old), median(self.new)
        if self.higher_is_better:
            return new * ALLOWED < old and new < min(self.old)
        return new > old * ALLOWED and new > max(self.old)


def main() -> int:
    given = arguments()
    with empty_folder() as made:
        tree = made / "old"
        extract(given.old_commit, tree)
        wanted = given.names or [name for name in names() if name != NEEDS_NETWORK]
        compared, crashed = compare(wanted, {"old": tree, "new": ROOT}, made, given.rounds)
    return report(compared, crashed)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.compare")
    parser.add_argument("old_commit", metavar="OLD_COMMIT")
    parser.add_argument("names", nargs="*", metavar="NAME", help="all without one, except install")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    return parser.parse_args()


def extract(commit: str, tree: Path) -> None:
    """Extract the files of a commit with today's benches, ready to run."""
    tree.mkdir()
    tree.chmod(0o711)
    archive = subprocess.run(
        ["git", "archive", "--format=tar", commit], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)
    theirs = {
        name: (tree / "bench" / name).read_bytes()
        for name in _OF_THE_COMMIT
        if (tree / "bench" / name).exists()
    }
    shutil.rmtree(tree / "bench", ignore_errors=True)
    without = shutil.ignore_patterns("__pycache__", "results.json", "results.md")
    shutil.copytree(ROOT / "bench", tree / "bench", ignore=without)
    for name, content in theirs.items():
        (tree / "bench" / name).write_bytes(content)
    if (ROOT / _BUILT).exists():
        shutil.copytree(ROOT / _BUILT, tree / _BUILT, dirs_exist_ok=True)


def compare(
    wanted: Sequence[str], trees: Mapping[str, Path], scratch: Path, rounds: int
) -> tuple[dict[str, Compared], list[str]]:
    """Measure both sides by turns.

    Returns each figure's values, and the measurements that crashed.
    """
    compared: dict[str, Compared] = {}
    crashed: list[str] = []
    for turn in range(rounds):
        for name in wanted:
            for side in ("old", "new") if turn % 2 == 0 else ("new", "old"):
                print(f"== round {turn + 1} of {rounds}, {side}", flush=True)
                outcome = measure(name, trees[side], scratch / f"{side}-data")
                if outcome.crashed:
                    crashed.append(f"{name}, {side}, round {turn + 1}: {outcome.crashed}")
                for figure in outcome.figures:
                    note(compared, figure, side)
    return compared, crashed


def note(compared: dict[str, Compared], figure: Figure, side: str) -> None:
    """Add both values of a figure: its ratio to the baseline, and the measured value."""
    for what, value in (("ratio", figure.ratio), (figure.unit, figure.measured)):
        one = compared.setdefault(f"{figure.id}, {what}", Compared(figure.higher_is_better))
        (one.old if side == "old" else one.new).append(value)


def measure(name: str, tree: Path, data: Path) -> Outcome:
    """Run one measurement of one side with the Python of this checkout."""
    data.mkdir(exist_ok=True)
    data.chmod(0o711)
    environment = {**os.environ, "PYTHONPATH": str(tree), "TMPDIR": str(data)}
    with NamedTemporaryFile("r", suffix=".json", encoding="utf-8") as file:
        command = [sys.executable, "-m", "bench", name, "--json", file.name]
        status = subprocess.run(command, cwd=tree, env=environment).returncode
        written = file.read()
    if not written:
        return Outcome(name, 0, crashed=f"the process ended with status {status}")
    [held] = json.loads(written)
    return outcome_from(held)


def report(compared: Mapping[str, Compared], crashed: Sequence[str]) -> int:
    """Print a table and return the exit status."""
    print("\n| | figure | old median (range) | new median (range) |\n|---|---|---|---|")
    for name, one in compared.items():
        mark = "**WORSE**" if one.is_worse else "ok"
        print(f"| {mark} | {name} | {described(one.old)} | {described(one.new)} |")
    worse = sum(one.is_worse for one in compared.values())
    print(f"\n{len(compared)} values compared, {worse} worse, {len(crashed)} crashes")
    for text in crashed:
        print(f"CRASHED: {text}")
    return 2 if crashed else 1 if worse else 0


def described(values: Sequence[float]) -> str:
    if not values:
        return "not measured"
    return f"{number(median(values))} ({number(min(values))} to {number(max(values))})"


if __name__ == "__main__":
    sys.exit(main())
