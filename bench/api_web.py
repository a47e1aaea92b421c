"""The web process for ``api_endpoints``, with two more handlers; its client and its CPU time.

As a program it is ``neurant serve`` with ``/v1/bench/floor`` (a constant, for any caller) and
``/v1/bench/constant`` (the same constant, for a caller who may read the company). Both are routes
of the API's own class and adjacent in the application's table, so they differ in nothing else.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel

from bench.product import Call, get_settings, needs, router, serve
from bench.support import Web, web_process

FLOOR, CONSTANT = "/v1/bench/floor", "/v1/bench/constant"


class Constant(BaseModel):
    """The answer of both handlers."""

    answer: str


class Client:
    """One kept-alive connection with little work of its own, so that the server is measured."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self.connect()
        self._head = f" HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n"

    def connect(self) -> None:
        """Open a new connection, because the server closes one that was idle for some seconds."""
        self._socket = socket.create_connection(("127.0.0.1", self._port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Return the bytes of a whole request, which can be sent any number of times."""
        of_body = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        return f"{method} {path}{self._head}{of_body if body else ''}\r\n".encode() + body

    def send(self, request: bytes) -> tuple[int, bytes]:
        """Send a request; return status and body of the answer."""
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
        """Return the milliseconds until the whole answer was received.

        Raises RuntimeError for another status.
        """
        began = time.perf_counter()
        got, body = self.send(request)
        took = (time.perf_counter() - began) * 1000
        if got != status:
            raise RuntimeError(f"{request[:120]!r} is {got}: {body[:300]!r}")
        return took


def cpu_milliseconds(pids: Sequence[int]) -> float:
    """Return the CPU time of these processes, with all threads, to the nanosecond (schedstats)."""
    return sum(
        int(task.read_text().split()[0])
        for pid in pids
        for task in Path(f"/proc/{pid}/task").glob("*/schedstat")
    ) / 1e6  # fmt: skip


@contextmanager
def api_web_process(app_url: str, folder: Path) -> Iterator[Web]:
    """Run this module as a web process on a database, until the block ends."""
    with web_process(app_url, folder, ("-m", "bench.api_web")) as web:
        yield web


async def _floor() -> Constant:
    return Constant(answer="always the same")


async def _constant(call: Annotated[Call, needs("company.read")]) -> Constant:
    return Constant(answer="always the same")


if __name__ == "__main__":
    router.get("/bench/floor")(_floor)
    router.get("/bench/constant")(_constant)
    serve(get_settings())
