"""`neurant serve` as a real process: its connections are bounded, and its memory stays flat."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from neurant.core.settings import Settings
from tests.support.platform import environment, free_port

pytest_plugins = ("tests.support.fixtures",)

MEGABYTE = 1024 * 1024


@pytest.fixture
def serve(settings: Callable[..., Settings], folder: Path) -> Iterator[tuple[int, int]]:
    """The port and the process id of a web process."""
    port = free_port()
    child = environment(settings(), NEURANT_PORT=str(port), NEURANT_LOG_LEVEL="error")
    with (folder / "log").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "neurant", "serve"], env=child, stdout=out, stderr=out
        )
        try:
            ready = httpx.HTTPTransport(retries=30)
            with httpx.Client(transport=ready) as client:
                answer = client.get(f"http://127.0.0.1:{port}/healthz", timeout=30)
            assert answer.status_code == 200, (folder / "log").read_text()
            yield port, process.pid
        finally:
            process.terminate()
            process.wait(30)


def test_sixty_megabytes_of_headers_are_431_and_memory_stays_flat(serve: tuple[int, int]) -> None:
    port, pid = serve
    process = psutil.Process(pid)
    before, most, done = process.memory_info().rss, 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.02):
            most = max(most, process.memory_info().rss)

    watching = threading.Thread(target=watch)
    watching.start()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: ")
        with contextlib.suppress(ConnectionError):
            for _ in range(60 * 16):
                connection.sendall(b"a" * 65536)
        connection.settimeout(10)
        answer = connection.recv(65536)
    done.set()
    watching.join()
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert most - before < 8 * MEGABYTE
    assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
