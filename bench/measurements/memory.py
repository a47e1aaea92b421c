"""Memory of the whole platform, PostgreSQL included: idle, and with 20 visitors asking (Linux).

PSS counts a page shared by n processes as 1/n in each, so the sum over all processes is the memory
that the platform really occupies. The baseline of the idle platform is its PostgreSQL alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from pathlib import Path

import psutil

from bench.figures import Figure, Figures
from bench.platform import platform
from bench.sizes import sized
from bench.support import Running, demo_questions
from bench.visitors import busy_hour, crowd

GOAL_MB = 400
IDLE_SECONDS = sized(20, tiny=0)
VISITORS = sized(20, tiny=2)
EACH = sized(6, tiny=1)
_SAMPLE_SECONDS = 0.5


def pss(pid: int) -> float:
    """Return the megabytes that a process occupies; 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def part(process: psutil.Process) -> str:
    """Return the part of the platform to which a process belongs."""
    words = process.cmdline()
    return next((name for name in ("serve", "worker", "up") if name in words), "postgresql")


def memory(running: Running) -> dict[str, float]:
    """Return the megabytes of each part."""
    parts: defaultdict[str, float] = defaultdict(float)
    root = psutil.Process(running.pid)
    for process in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            parts[part(process)] += pss(process.pid)
    return parts


async def most_under_load(running: Running) -> dict[str, float]:
    """Return the parts at the time when their sum is highest, while 20 visitors ask."""
    async with crowd(running.url, VISITORS) as visitors:
        asking = asyncio.create_task(busy_hour(visitors, demo_questions(), EACH))
        most = memory(running)
        while not asking.done():
            await asyncio.sleep(_SAMPLE_SECONDS)
            most = max(most, memory(running), key=lambda parts: sum(parts.values()))
        await asking
    return most


def strangers(running: Running) -> int:
    """Return the number of processes of other platforms.

    The pages that they share with ours make our PSS smaller.
    """
    root = psutil.Process(running.pid)
    own = {root.pid, *(child.pid for child in root.children(recursive=True))}
    words = {"serve", "worker"}
    return sum(
        "neurant" in (command := process.info["cmdline"] or []) and not words.isdisjoint(command)
        for process in psutil.process_iter(["cmdline"])
        if process.pid not in own
    )


def described(parts: dict[str, float]) -> str:
    return ", ".join(f"{name} {size:.0f}" for name, size in sorted(parts.items()))


def measure() -> Figures:
    with platform() as started:
        running = started.running
        time.sleep(IDLE_SECONDS)
        idle, others = memory(running), strangers(running)
        loaded = asyncio.run(most_under_load(running))
    total, most = sum(idle.values()), sum(loaded.values())
    yield Figure(
        id="memory_idle",
        title="memory of the whole platform, idle",
        measured=total,
        unit="MB",
        baseline="its PostgreSQL",
        baseline_measured=idle["postgresql"],
        ratio=total / idle["postgresql"],
        goal=GOAL_MB,
        goal_on="measured",
        details=f"PSS {IDLE_SECONDS} s after the start: {described(idle)};"
        f" {others} web or worker processes of other platforms shared pages",
    )
    yield Figure(
        id="memory_busy",
        title=f"memory of the whole platform, {VISITORS} visitors asking",
        measured=most,
        unit="MB",
        baseline="the same platform idle",
        baseline_measured=total,
        ratio=most / total,
        details=f"PSS, the highest of two samples a second: {described(loaded)}",
    )
