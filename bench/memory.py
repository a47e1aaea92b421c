"""Memory of the whole platform, PostgreSQL included: idle, and with 20 visitors asking.

Run: ``python bench/memory.py`` (about 1 minute, Linux). PSS counts a page shared by n processes as
1/n in each, so the sum over the tree is what the platform really occupies.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from pathlib import Path

import psutil
from support import Running, demo, demo_questions, empty_folder, report
from visitors import busy_hour, crowd

GOAL_MB = 400
IDLE_SECONDS = 20
VISITORS = 20
EACH = 6
_SAMPLE_SECONDS = 0.5


def pss(pid: int) -> float:
    """Megabytes that a process occupies; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def part(process: psutil.Process) -> str:
    """Which part of the platform a process is."""
    words = process.cmdline()
    return next((name for name in ("serve", "worker", "up") if name in words), "postgresql")


def memory(platform: Running) -> dict[str, float]:
    """Megabytes of each part."""
    parts: defaultdict[str, float] = defaultdict(float)
    root = psutil.Process(platform.pid)
    for process in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            parts[part(process)] += pss(process.pid)
    return parts


async def most_under_load(platform: Running) -> dict[str, float]:
    """The parts at the moment when their sum is highest, while 20 visitors ask."""
    async with crowd(platform.url, VISITORS) as visitors:
        asking = asyncio.create_task(busy_hour(visitors, demo_questions(), EACH))
        most = memory(platform)
        while not asking.done():
            await asyncio.sleep(_SAMPLE_SECONDS)
            most = max(most, memory(platform), key=lambda parts: sum(parts.values()))
        await asking
    return most


def strangers(platform: Running) -> int:
    """Processes of other platforms: the pages that they share with ours make our PSS smaller."""
    root = psutil.Process(platform.pid)
    own = {root.pid, *(child.pid for child in root.children(recursive=True))}
    words = {"serve", "worker"}
    return sum(
        "neurant" in (command := process.info["cmdline"] or []) and not words.isdisjoint(command)
        for process in psutil.process_iter(["cmdline"])
        if process.pid not in own
    )


def described(parts: dict[str, float]) -> str:
    return ", ".join(f"{name} {size:.0f}" for name, size in sorted(parts.items()))


async def main() -> None:
    with empty_folder() as folder, demo(folder) as platform:
        await asyncio.sleep(IDLE_SECONDS)
        idle, others = memory(platform), strangers(platform)
        loaded = await most_under_load(platform)
    report(
        "memory_idle",
        "memory of the whole platform, idle, MB",
        sum(idle.values()),
        GOAL_MB,
        f"PSS {IDLE_SECONDS} s after the start: {described(idle)};"
        f" {others} web or worker processes of other platforms shared pages",
    )
    report(
        "memory_busy",
        "memory of the whole platform, 20 visitors asking, MB",
        sum(loaded.values()),
        None,
        f"PSS, the highest of two samples a second: {described(loaded)}",
    )


if __name__ == "__main__":
    asyncio.run(main())
