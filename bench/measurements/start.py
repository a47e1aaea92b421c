"""The time from the start of ``neurant up --demo`` to its first answer, on a new and a used folder.

The time ends when a visitor has read a cited answer, which is slightly after the address is
printed. The baseline is the embedded PostgreSQL alone on a folder of its own.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from bench.database import running
from bench.figures import Figure, Figures
from bench.sizes import sized
from bench.support import busy, demo, empty_folder, median
from bench.visitors import crowd

COLD_GOAL, WARM_GOAL = 15.0, 5.0  # seconds
RUNS = sized(3, tiny=1)
QUESTION = "¿Cuánto cuesta una limpieza dental?"


@dataclass(frozen=True)
class Start:
    """The seconds until the address was printed, and until the first cited answer was read."""

    printed: float
    answered: float


async def first_answer(base: str) -> None:
    """Open the chat as a visitor and read a cited answer."""
    async with crowd(base, 1) as [visitor]:
        _, is_cited = await visitor.ask(QUESTION)
    if not is_cited:
        raise RuntimeError("the first answer names no source")


def start(folder: Path) -> Start:
    """Start the platform on this folder, ask, and stop it."""
    began = time.monotonic()
    with demo(folder) as platform:
        asyncio.run(first_answer(platform.url))
        return Start(platform.seconds, time.monotonic() - began)


def start_postgresql(folder: Path) -> float:
    """Return the seconds until PostgreSQL alone accepts connections on this folder."""
    began = time.monotonic()
    with running(folder, {}):
        return time.monotonic() - began


def figure(kind: str, title: str, goal: float, starts: list[Start], alone: list[float]) -> Figure:
    seconds, baseline = median(one.answered for one in starts), median(alone)
    each = ", ".join(f"{one.answered:.1f}" for one in starts)
    printed = median(one.printed for one in starts)
    return Figure(
        id=f"start_{kind}",
        title=f"neurant up --demo {title}, until its first cited answer",
        measured=seconds,
        unit="s",
        baseline="the embedded PostgreSQL alone",
        baseline_measured=baseline,
        ratio=seconds / baseline,
        goal=goal,
        goal_on="measured",
        details=f"median of {RUNS}: {each} s; address printed after {printed:.1f} s; {busy()}",
    )


def measure() -> Figures:
    cold, warm, cold_alone, warm_alone = [], [], [], []
    for _ in range(RUNS):
        with empty_folder() as folder:
            cold.append(start(folder))
            warm.append(start(folder))
        with empty_folder() as folder:
            cold_alone.append(start_postgresql(folder))
            warm_alone.append(start_postgresql(folder))
    yield figure("cold", "from an empty folder", COLD_GOAL, cold, cold_alone)
    yield figure("warm", "again on the same folder", WARM_GOAL, warm, warm_alone)
