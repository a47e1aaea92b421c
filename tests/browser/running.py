"""`neurant up` in a folder of its own, for tests that look at it from outside."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 120


@dataclass(frozen=True)
class Platform:
    """Where the demo answers, and the password of its people."""

    url: str
    demo_password: str


@contextmanager
def demo(folder: Path) -> Iterator[Platform]:
    """The demo, from nothing until its documents can be asked about; ended at the end."""
    with running(folder, "--demo", ready="{url}/chat/") as url:
        told = json.loads((folder / "data" / "demo.json").read_text("utf-8"))
        yield Platform(url, told["password"])


@contextmanager
def installation(folder: Path, **environment: str) -> Iterator[str]:
    """Address of an installation without any company, whose mail is in ``folder``/data/mail."""
    with running(folder, ready="{url}/signup", **environment) as url:
        yield url


@contextmanager
def running(folder: Path, *arguments: str, ready: str, **environment: str) -> Iterator[str]:
    """Address of ``neurant up``, once it printed ``ready``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (folder / "up.log").open("wb")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "neurant", "up", *arguments),
            *("--port", str(port), "--data-dir", str(folder / "data")),
        ],
        stdout=log,
        stderr=log,
        env=os.environ | {"LANG": "es_CO.UTF-8"} | environment,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_SECONDS
        while ready.format(url=url) not in (folder / "up.log").read_text("utf-8", "replace"):
            assert process.poll() is None, (folder / "up.log").read_text("utf-8", "replace")
            assert time.monotonic() < deadline, "the platform did not start in time"
            time.sleep(0.1)
        with urllib.request.urlopen(f"{url}/readyz") as answer:
            assert json.load(answer)["status"] == "ready"
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)
        log.close()
