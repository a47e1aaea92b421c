"""Run the measurements: ``python -m bench [NAME ...]``.

Without a name all of them run, and the results are written to ``bench/results.json`` and
``bench/results.md``. A measurement that crashes does not stop the others. Exit status: 0 if all goals
are reached, 1 if a figure is red, 2 if a measurement crashed.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.figures import line
from bench.results import collect, outcome_from, write
from bench.run import Outcome, close_shared, names, run
from bench.sizes import TINY
from bench.support import ROOT

GREEN, RED, CRASHED = 0, 1, 2


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    given = arguments()
    if given.list:
        print("\n".join(names()))
        return GREEN
    outcomes = run_all(given.names or names())
    if given.json:
        text = json.dumps([asdict(outcome) for outcome in outcomes], ensure_ascii=False)
        given.json.write_text(text, "utf-8")
    if not given.names and not TINY:
        write(collect(outcomes))
    return summary(outcomes)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Run the measurements.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a measurement; all without one")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the outcomes to this file")
    given = parser.parse_args()
    unknown = sorted(set(given.names) - set(names()))
    if unknown:
        parser.error(f"no measurement is called {', '.join(unknown)}; --list prints the names")
    return given


def run_all(wanted: Sequence[str]) -> list[Outcome]:
    """Run the measurements one after another.

    Each of several has a process of its own, as if it ran alone. Those of a tiny run share this
    process, because they share a server and a platform.
    """
    if TINY or len(wanted) == 1:
        try:
            return [run(name) for name in wanted]
        finally:
            close_shared()
    return [run_in_process(name) for name in wanted]


def run_in_process(name: str) -> Outcome:
    """Run one measurement in a process of its own."""
    with tempfile.NamedTemporaryFile("r", suffix=".json", encoding="utf-8") as file:
        command = [sys.executable, "-m", "bench", name, "--json", file.name]
        status = subprocess.run(command, cwd=ROOT).returncode
        written = file.read()
    if not written:
        return Outcome(name, 0, crashed=f"the process ended with status {status}")
    [held] = json.loads(written)
    return outcome_from(held)


def summary(outcomes: Sequence[Outcome]) -> int:
    """Print what is red, not measured or crashed; the exit status."""
    figures = [figure for outcome in outcomes for figure in outcome.figures]
    red = [] if TINY else [figure for figure in figures if not figure.is_green]
    crashed = [outcome for outcome in outcomes if outcome.crashed]
    print(f"\n{len(figures)} figures, {len(red)} RED, {len(crashed)} measurements crashed")
    for figure in red:
        print(line(figure))
    for outcome in outcomes:
        if outcome.not_measured:
            print(f"NOT MEASURED: {outcome.name}: {outcome.not_measured}")
    for outcome in crashed:
        print(f"CRASHED: {outcome.name}: {outcome.crashed}")
    return CRASHED if crashed else RED if red else GREEN


if __name__ == "__main__":
    sys.exit(main())
