"""The web process for ``api_endpoints.py``, with two handlers more; its client and its CPU.

Run as a program it is ``neurant serve`` with ``/v1/bench/floor`` (a constant, to anybody) and
``/v1/bench/constant`` (the same constant, to whoever may read the company). Both are routes of the
API's own class, beside each other in the application's table, so that they differ in nothing else.
"""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pydantic import BaseModel

from neurant.api.call import Call, needs
from neurant.core.settings import get_settings
from neurant.runtime.serve import serve
from neurant.team.routes import router

FLOOR, CONSTANT = "/v1/bench/floor", "/v1/bench/constant"
_START_SECONDS = 60.0


class Told(BaseModel):
    """The constant."""

    answer: str


@dataclass(frozen=True)
class Web:
    """A running web process."""

    port: int
    pid: int


class Client:
    """One kept-alive connection and nothing that costs: the server is what is measured."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self.connect()
        self._head = f" HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n"

    def connect(self) -> None:
        """Begin a new connection: the server closes one that was idle for some seconds."""
        self._socket = socket.create_connection(("127.0.0.1", self._port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """A whole request, to be sent as often as wanted."""
        told = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n" if body else ""
        return f"{method} {path}{self._head}{told}\r\n".encode() + body

    def send(self, request: bytes) -> tuple[int, bytes]:
        """Status and body of the answer."""
        self._socket.sendall(request)
        got = self._received()
        while (end := got.find(b"\r\n\r\n")) < 0:
            got += self._received()
        head = got[:end].lower()
        whole = end + 4 + int(head.split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
        while len(got) < whole:
            got += self._received()
        return int(head[9:12]), got[end + 4 :]

    def _received(self) -> bytes:
        some = self._socket.recv(65536)
        if not some:
            raise ConnectionError("the web process closed the connection")
        return some

    def timed(self, request: bytes, status: int = 200) -> float:
        """Milliseconds until the whole answer is here. RuntimeError for another status."""
        began = time.perf_counter()
        got, body = self.send(request)
        took = (time.perf_counter() - began) * 1000
        if got != status:
            raise RuntimeError(f"{request[:120]!r} is {got}: {body[:300]!r}")
        return took


def cpu_milliseconds(pids: Sequence[int]) -> float:
    """CPU that these processes have used, all their threads, to the nanosecond (schedstats)."""
    return sum(
        int(task.read_text().split()[0])
        for pid in pids
        for task in Path(f"/proc/{pid}/task").glob("*/schedstat")
    ) / 1e6  # fmt: skip


@contextmanager
def web(app_url: str, folder: Path, more: Mapping[str, str] | None = None) -> Iterator[Web]:
    """The web process on a database, until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    given = {name: value for name, value in os.environ.items() if not name.startswith("NEURANT_")}
    given |= {
        "NEURANT_DATA_DIR": str(folder),
        "NEURANT_PORT": str(port),
        "NEURANT_APP_DATABASE_URL": app_url,
        "NEURANT_LOG_LEVEL": "warning",
        "NEURANT_MASTER_KEY": base64.b64encode(os.urandom(32)).decode(),
        **(more or {}),
    }
    process = subprocess.Popen([sys.executable, __file__], env=given)
    try:
        _wait(port, process)
        yield Web(port, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    last = time.monotonic() + _START_SECONDS
    while time.monotonic() < last and process.poll() is None:
        with suppress(OSError):
            client = Client(port, "-")
            if client.send(client.request("GET", "/readyz"))[0] == 200:
                return
        time.sleep(0.1)
    process.kill()
    raise RuntimeError("the web process did not become ready")


async def _floor() -> Told:
    return Told(answer="always the same")


async def _constant(call: Annotated[Call, needs("company.read")]) -> Told:
    return Told(answer="always the same")


if __name__ == "__main__":
    router.get("/bench/floor")(_floor)
    router.get("/bench/constant")(_constant)
    serve(get_settings())
