"""What the measurements share: a platform of their own, a percentile, and how a figure is told."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "bench" / "out"
CHAT_PATH = "/chat/demo-los-cedros"
_START_SECONDS = 180.0
_STOP_SECONDS = 60.0


@dataclass(frozen=True)
class Running:
    """A platform that has printed its address. ``seconds``: from its start until that line."""

    folder: Path
    port: int
    pid: int
    seconds: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def empty_folder() -> Iterator[Path]:
    """A new folder, gone afterwards. PostgreSQL runs as another account and must pass through."""
    made = Path(tempfile.mkdtemp(prefix="neurant-bench-"))
    made.chmod(0o711)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def demo(folder: Path, environment: Mapping[str, str] | None = None) -> Iterator[Running]:
    """``neurant up --demo`` as a person runs it, until the block ends."""
    port = free_port()
    given = {name: value for name, value in os.environ.items() if not name.startswith("NEURANT_")}
    given |= {
        "LC_ALL": "C.UTF-8",
        "NEURANT_DATA_DIR": str(folder),
        "NEURANT_PORT": str(port),
        **(environment or {}),
    }
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "neurant", "up", "--demo", "--stop-with-parent"],
        cwd=ROOT,
        env=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        _wait_printed(process, f"http://127.0.0.1:{port}{CHAT_PATH}")
        yield Running(folder, port, process.pid, time.monotonic() - started)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_printed(process: subprocess.Popen[str], address: str) -> None:
    """Until the platform prints where its chat is. RuntimeError with its words if it never does."""
    assert process.stdout is not None
    said: list[str] = []
    too_long = threading.Timer(_START_SECONDS, process.kill)  # its output ends, and so do we
    too_long.start()
    try:
        for line in process.stdout:
            said.append(line)
            if address in line:
                return
    finally:
        too_long.cancel()
    raise RuntimeError("the platform did not start:\n" + "".join(said))


def demo_questions() -> list[str]:
    """Questions that the demo clinic's documents answer."""
    path = ROOT / "tests" / "knowledge" / "demo_questions.toml"
    return [one["question"] for one in tomllib.loads(path.read_text("utf-8"))["answerable"]]


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` (0 to 1) of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def busy() -> str:
    """How busy the machine is before a measurement begins, to tell beside it."""
    return f"load average {os.getloadavg()[0]:.1f} of {os.cpu_count()} cores before"


def report(
    file: str, name: str, value: float, goal: float | None, how: str, *, at_least: bool = False
) -> bool:
    """Print one line and write ``out/FILE.json``; whether the goal is met.

    The goal is a ceiling, or a floor with ``at_least``.
    """
    ok = goal is None or (value >= goal if at_least else value <= goal)
    row = {"name": name, "value": round(value, 2), "goal": goal, "ok": ok, "how": how}
    OUT.mkdir(exist_ok=True)
    (OUT / f"{file}.json").write_text(json.dumps(row, ensure_ascii=False, indent=1) + "\n", "utf-8")
    print(told(row), flush=True)
    return ok


def told(row: Mapping[str, object]) -> str:
    """One line for one figure."""
    goal = "no goal" if row["goal"] is None else f"goal {row['goal']}"
    verdict = "ok" if row["ok"] else "RED"
    return f"{verdict:<3}  {row['name']}: {row['value']}  ({goal})  {row['how']}"
