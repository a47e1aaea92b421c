"""A TCP proxy on loopback that can swallow connections: no reset, no FIN, just silence.

What a client sends on a swallowed connection is still acknowledged by the kernel and read away, so
neither TCP keepalives nor the user time-out ever fire: only who waits for an answer can notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit


class SwallowingProxy:
    """Forwards to a port of this machine, in a thread of its own."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self.connections = 0
        self._target = target
        self._swallowed_before = 0
        self._lets_new_through = True
        self._writers: set[asyncio.StreamWriter] = set()

    def url(self, database_url: str) -> str:
        """The same database, by way of this proxy."""
        return database_url.replace(f":{urlsplit(database_url).port}/", f":{self.port}/")

    def swallow(self, *, new_too: bool = False) -> None:
        """Forward nothing any more on the connections that are open; on new ones, if so wanted."""
        self._swallowed_before = self.connections
        self._lets_new_through = not new_too

    def let_new_through(self) -> None:
        """New connections work again. Those that were swallowed stay so."""
        self._swallowed_before = self.connections
        self._lets_new_through = True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number = self.connections
        there, to_there = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, to_there}
        await asyncio.gather(
            self._forward(number, reader, to_there), self._forward(number, there, writer)
        )

    async def _forward(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if self._is_open(number):
                    writer.write(data)
                    await writer.drain()
        if self._is_open(number):  # an end is swallowed, too
            writer.close()

    def _is_open(self, number: int) -> bool:
        return number > self._swallowed_before and self._lets_new_through

    async def run(self, started: threading.Event, stopped: asyncio.Event) -> None:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await stopped.wait()
        server.close()
        for writer in self._writers:
            writer.transport.abort()


@contextmanager
def swallowing_proxy(database_url: str) -> Iterator[SwallowingProxy]:
    """A running proxy in front of this database."""
    proxy = SwallowingProxy(urlsplit(database_url).port or 5432)
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stopped = asyncio.Event()

    def work() -> None:
        loop.run_until_complete(proxy.run(started, stopped))
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    started.wait(10)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(10)
