"""Shared parts of the measurements: the platform as processes, ports, folders, percentiles."""

from __future__ import annotations

import base64
import http.client
import math
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.product import DEMO_QUESTIONS

ROOT = Path(__file__).resolve().parents[1]
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


@dataclass(frozen=True)
class Web:
    """A running web process."""

    port: int
    pid: int


def free_port() -> int:
    """Return a port of loopback that no process uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def empty_folder() -> Iterator[Path]:
    """Yield a new folder and remove it afterwards.

    PostgreSQL runs as another account and may enter it.
    """
    made = Path(tempfile.mkdtemp(prefix="neurant-bench-"))
    made.chmod(0o711)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def clean_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return our environment with these settings of the product and no others."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("NEURANT_")}
    return kept | {"LC_ALL": "C.UTF-8"} | dict(settings)


@contextmanager
def demo(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Running]:
    """Run ``neurant up --demo`` as a person does, until the block ends."""
    port = free_port()
    given = {"NEURANT_DATA_DIR": str(folder), "NEURANT_PORT": str(port), **(settings or {})}
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "neurant", "up", "--demo", "--stop-with-parent"],
        cwd=ROOT,
        env=clean_environment(given),
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
    """Wait until the platform prints the address of its chat. RuntimeError with its output."""
    assert process.stdout is not None
    printed: list[str] = []
    too_long = threading.Timer(_START_SECONDS, process.kill)  # a killed process ends the loop
    too_long.start()
    try:
        for line in process.stdout:
            printed.append(line)
            if address in line:
                return
    finally:
        too_long.cancel()
    raise RuntimeError("the platform did not start:\n" + "".join(printed))


@contextmanager
def web_process(
    app_url: str, folder: Path, program: Sequence[str] = ("-m", "neurant", "serve")
) -> Iterator[Web]:
    """Run a web process on a database, until the block ends."""
    port = free_port()
    settings = {
        "NEURANT_DATA_DIR": str(folder),
        "NEURANT_PORT": str(port),
        "NEURANT_APP_DATABASE_URL": app_url,
        "NEURANT_MASTER_KEY": base64.b64encode(b"k" * 32).decode(),
        "NEURANT_LOG_LEVEL": "warning",
    }
    command = [sys.executable, *program]
    process = subprocess.Popen(command, cwd=ROOT, env=clean_environment(settings))
    try:
        _wait_ready(process, port)
        yield Web(port, process.pid)
    finally:
        process.terminate()
        process.wait(_STOP_SECONDS)


def _wait_ready(process: subprocess.Popen[bytes], port: int) -> None:
    last = time.monotonic() + _START_SECONDS
    while time.monotonic() < last and process.poll() is None:
        with suppress(OSError):
            asked = http.client.HTTPConnection("127.0.0.1", port, timeout=_START_SECONDS)
            asked.request("GET", "/readyz")
            if asked.getresponse().status == 200:
                return
        time.sleep(0.05)
    process.kill()
    raise RuntimeError("the web process did not become ready")


def demo_questions() -> list[str]:
    """Return questions that the demo clinic's documents answer."""
    return [
        one["question"] for one in tomllib.loads(DEMO_QUESTIONS.read_text("utf-8"))["answerable"]
    ]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least ``share`` (0 to 1) of all do not exceed.

    This is the nearest-rank percentile.
    """
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median(values: Iterable[float]) -> float:
    """Return the median of the values."""
    return statistics.median(list(values))


def busy() -> str:
    """Return the load of the machine before a measurement begins, for the details of a figure."""
    return f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores before"
