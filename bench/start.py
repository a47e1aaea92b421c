"""How long ``neurant up --demo`` takes until it answers: from an empty folder, and again.

Run: ``python bench/start.py`` (about 1 minute). Time runs from the start of the command until a
visitor has read a cited answer, which is a little after the address is printed.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from support import busy, demo, empty_folder, report
from visitors import crowd

COLD_GOAL, WARM_GOAL = 15.0, 5.0  # seconds
RUNS = 3
QUESTION = "¿Cuánto cuesta una limpieza dental?"


@dataclass(frozen=True)
class Start:
    """Seconds until the address was printed, and until the first cited answer was read."""

    printed: float
    answered: float


async def first_answer(base: str) -> None:
    """A visitor comes and reads a cited answer."""
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


def tell(file: str, name: str, goal: float, starts: list[Start], before: str) -> None:
    each = ", ".join(f"{one.answered:.1f}" for one in starts)
    printed = median(one.printed for one in starts)
    how = f"until the first cited answer: {each} s; address printed after {printed:.1f} s; {before}"
    report(file, name, median(one.answered for one in starts), goal, how)


def main() -> None:
    before = busy()
    cold, warm = [], []
    for _ in range(RUNS):
        with empty_folder() as folder:
            cold.append(start(folder))
            warm.append(start(folder))
    name = f"up --demo, median of {RUNS}, s"
    tell("start_cold", f"from an empty folder, {name}", COLD_GOAL, cold, before)
    tell("start_warm", f"again on the same folder, {name}", WARM_GOAL, warm, before)


if __name__ == "__main__":
    main()
