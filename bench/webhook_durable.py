"""Signed webhooks over HTTP to durable, against pgbench's INSERT of the message row with its keys.

Run: ``python bench/webhook_durable.py`` (about 2 minutes). A real ``neurant serve``; 32 senders, each
on a connection of its own, of which each waits for the 200 that follows the commit; the generator is
a process of its own and shares the machine. Then 70 % of that rate, open loop: the webhooks come
whether or not the ones before were answered.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from message_writes import interleaved, pgbench, seeded, spread
from support import ROOT, busy, free_port, percentile, report

from neurant.installation.embedded import RunningServer

GOAL = 0.3
GOAL_P99_MS = 50
SENDERS = 32
OPEN_SENDERS = 128
SECONDS = 5
ROUNDS = 7
LOAD = 0.7
OPEN_SECONDS = 20
_START_SECONDS = 30.0
_SEEDS = itertools.count(1)


@dataclass(frozen=True)
class Load:
    """What the generator saw."""

    answered: int
    seconds: float
    errors: int
    latencies: list[float]


@contextmanager
def serving(folder: Path, server: RunningServer) -> Iterator[tuple[int, psutil.Process]]:
    """``neurant serve`` on the database; its port and process."""
    port = free_port()
    environment = {name: v for name, v in os.environ.items() if not name.startswith("NEURANT_")}
    environment |= {
        "NEURANT_DATA_DIR": str(folder),
        "NEURANT_PORT": str(port),
        "NEURANT_APP_DATABASE_URL": server.urls.app,
        "NEURANT_MASTER_KEY": base64.b64encode(b"k" * 32).decode(),
        "NEURANT_LOG_LEVEL": "warning",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "neurant", "serve"], cwd=ROOT, env=environment
    )
    try:
        # The address is open before the application answers behind it.
        while True:
            asked = http.client.HTTPConnection("127.0.0.1", port, timeout=_START_SECONDS)
            with contextlib.suppress(ConnectionRefusedError):
                asked.request("GET", "/webhooks/")
                asked.getresponse().read()
                break
            if process.poll() is not None:
                raise RuntimeError("neurant serve did not start")
            time.sleep(0.05)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)


def send(port: int, seconds: float, connections: int, rate: float = 0) -> Load:
    """Run the generator. RuntimeError where not every webhook was answered with 200."""
    script = Path(__file__).with_name("webhook_load.py")
    words = [str(word) for word in (port, seconds, connections, rate, next(_SEEDS))]
    ran = subprocess.run(
        [sys.executable, str(script), *words], capture_output=True, text=True, check=True
    )
    seen = Load(**json.loads(ran.stdout))
    if seen.errors or not seen.answered:
        raise RuntimeError(f"{seen.errors} of {seen.answered} webhooks were not answered with 200")
    return seen


def cpu_seconds(process: psutil.Process) -> float:
    """What the process has computed, in all its threads."""
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    before = busy()
    with seeded() as (folder, server), serving(folder, server) as (port, web):
        costs: list[float] = []

        def hooks() -> float:
            began = cpu_seconds(web)
            seen = send(port, SECONDS, SENDERS)
            costs.append((cpu_seconds(web) - began) * 1000 / seen.answered)
            return seen.answered / seen.seconds

        def insert() -> float:
            return pgbench(server.urls.admin, "insert_message", clients=SENDERS, seconds=SECONDS)

        send(port, 2, SENDERS), insert()  # warm
        ratio, ours, plain = interleaved(hooks, insert, ROUNDS)
        rate = LOAD * statistics.median(ours)
        opened = send(port, OPEN_SECONDS, OPEN_SENDERS, rate)
    report(
        "webhook_durable",
        "signed webhooks a second, over HTTP to durable, of pgbench's INSERT of the message row",
        ratio,
        GOAL,
        f"median of {ROUNDS} pairs of {SECONDS} s, {SENDERS} senders against {SENDERS} clients, one"
        f" web process, fsync on; webhooks {spread(ours)}, INSERT {spread(plain)}; {before}",
        at_least=True,
    )
    report(
        "webhook_p99",
        "p99 from a webhook's due moment to its 200 at 70 % load, ms",
        percentile(opened.latencies, 0.99) * 1000,
        GOAL_P99_MS,
        f"open loop, {rate:,.0f}/s for {OPEN_SECONDS} s, {opened.answered:,} answered; median"
        f" {percentile(opened.latencies, 0.5) * 1000:.1f} ms",
    )
    report(
        "webhook_cpu",
        "CPU of the web process for one webhook, ms",
        statistics.median(costs),
        None,
        f"user and system, median of {ROUNDS} runs in a closed loop",
    )


if __name__ == "__main__":
    main()
