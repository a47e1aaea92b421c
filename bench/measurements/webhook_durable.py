"""Signed webhooks over HTTP to a durable commit, against pgbench's INSERT of the message row.

The INSERT has the same keys. There is a real ``neurant serve``, with 32 senders; each has its own
connection and waits for the 200 that follows the commit. The load generator is a process of its own
and shares the machine. Afterwards an open loop runs at 70 % of that rate: webhooks are sent
regardless of the answers to earlier ones.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from bench.figures import Figure, Figures
from bench.pgbench import CUSTOMERS, Compared, interleaved, spread, write_path, write_rate
from bench.sizes import sized
from bench.support import ROOT, Web, busy, empty_folder, median, percentile, web_process

GOAL = 0.3
GOAL_P99_MS = 50
SENDERS = 32
OPEN_SENDERS = 128
SECONDS = sized(5.0, tiny=1.0)
WARM_SECONDS = sized(2.0, tiny=1.0)
INSERT_SECONDS = sized(5.0, tiny=0.0)
ROUNDS = sized(7, tiny=1)
LOAD = 0.7
OPEN_SECONDS = sized(20.0, tiny=1.0)
_SEEDS = itertools.count(1)


@dataclass(frozen=True)
class Load:
    """The result of the load generator."""

    answered: int
    seconds: float
    errors: int
    latencies: list[float]


def send(port: int, seconds: float, connections: int, rate: float = 0) -> Load:
    """Run the generator. Raises RuntimeError unless every webhook was answered with 200."""
    words = [str(word) for word in (port, seconds, connections, rate, next(_SEEDS), CUSTOMERS)]
    command = [sys.executable, "-m", "bench.webhook_load", *words]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    load = Load(**json.loads(ran.stdout))
    if load.errors or not load.answered:
        raise RuntimeError(f"{load.errors} of {load.answered} webhooks were not answered with 200")
    return load


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU time of the process, with all its threads."""
    times = process.cpu_times()
    return float(times.user + times.system)


@dataclass
class ClosedLoop:
    """The rounds of the closed loop: both rates, and the cost of one webhook in each round."""

    compared: Compared
    cpu_ms: list[float] = field(default_factory=list)
    wall_ms: list[float] = field(default_factory=list)


def closed_loop(web: Web, insert: Callable[[], float]) -> ClosedLoop:
    """Measure webhooks and INSERTs by turns."""
    process = psutil.Process(web.pid)
    loop = ClosedLoop(Compared([], []))

    def hooks() -> float:
        before = cpu_seconds(process)
        load = send(web.port, SECONDS, SENDERS)
        loop.cpu_ms.append((cpu_seconds(process) - before) * 1000 / load.answered)
        loop.wall_ms.append(load.seconds * 1000 / load.answered)
        return load.answered / load.seconds

    send(web.port, WARM_SECONDS, SENDERS), insert()  # the first runs warm up
    loop.compared = interleaved(hooks, insert, ROUNDS)
    return loop


def rate_figure(compared: Compared, before: str) -> Figure:
    return Figure(
        id="webhook_durable",
        title="signed webhooks over HTTP to durable",
        measured=median(compared.ours),
        unit="webhooks/s",
        baseline="pgbench's INSERT of the message row, same keys, no trigger",
        baseline_measured=median(compared.baseline),
        ratio=compared.ratio,
        goal=GOAL,
        higher_is_better=True,
        details=f"median of {ROUNDS} pairs of {SECONDS:g} s, {SENDERS} senders against {SENDERS}"
        f" clients, one web process, fsync on; webhooks {spread(compared.ours)}, INSERT"
        f" {spread(compared.baseline)}; {before}",
    )


def latency_figure(opened: Load, rate: float) -> Figure:
    p99, middle = (percentile(opened.latencies, share) * 1000 for share in (0.99, 0.5))
    return Figure(
        id="webhook_p99",
        title="from a webhook's due moment to its 200 at 70 % load, p99",
        measured=p99,
        unit="ms",
        baseline="the median of the same webhooks",
        baseline_measured=middle,
        ratio=p99 / middle,
        goal=GOAL_P99_MS,
        goal_on="measured",
        details=f"open loop, {rate:,.0f}/s for {OPEN_SECONDS:g} s, {opened.answered:,} answered",
    )


def cpu_figure(loop: ClosedLoop) -> Figure:
    cpu, wall = median(loop.cpu_ms), median(loop.wall_ms)
    return Figure(
        id="webhook_cpu",
        title="CPU of the web process for one webhook",
        measured=cpu,
        unit="ms",
        baseline="the time from one webhook to the next in the closed loop",
        baseline_measured=wall,
        ratio=cpu / wall,
        details=f"user and system, median of {ROUNDS} runs in a closed loop",
    )


def measure() -> Figures:
    before = busy()
    with (
        write_path() as database,
        empty_folder() as folder,
        web_process(database.app, folder) as web,
    ):

        def insert() -> float:
            return write_rate(
                database.admin, "insert_message", clients=SENDERS, seconds=INSERT_SECONDS
            )

        loop = closed_loop(web, insert)
        rate = LOAD * median(loop.compared.ours)
        opened = send(web.port, OPEN_SECONDS, OPEN_SENDERS, rate)
    yield rate_figure(loop.compared, before)
    yield latency_figure(opened, rate)
    yield cpu_figure(loop)
