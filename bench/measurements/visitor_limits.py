"""The cost of the visitors' limits, and the effect of a flood on one company upon another.

1. The share of the limits in storing a message: the limits alone, against limits and storing. 2.
520 visitors of acme, each with its own address and an open stream, send "hola" while one more
address sends as much as it can. A visitor of rival asks all the while: the time from its message to
the answer on its stream is compared with that before the flood.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import psycopg

from bench.companies import add_company
from bench.database import of_urls
from bench.figures import Figure, Figures
from bench.platform import platform
from bench.product import (
    LIFETIME,
    Doing,
    Hub,
    InboundMessage,
    Ingestor,
    Turns,
    VisitorLimits,
    connection_urls,
    make_pool,
    place_of,
)
from bench.sizes import sized
from bench.support import busy, percentile

MAX_SHARE = 0.6  # of the time to store a message; a whole answer takes many times as long
MAX_RATIO = 3.0  # of rival's times; the two processes share the machine with the flood
MESSAGES = sized(300, tiny=10)
VISITORS = sized(520, tiny=4)
ASKED = sized(25, tiny=2)
OF_RIVAL = sized(4, tiny=1)


async def measure_share(app_url: str, chat: str) -> tuple[float, float]:
    """Return the median milliseconds of the limits, and of limits and storing, by turns."""
    asked, stored = [], []
    async with (
        make_pool(app_url, size=2, pooled=False) as gate,
        make_pool(app_url, size=4, pooled=False) as pool,
        Hub(app_url).running() as hub,
        Ingestor(pool, hub).running() as ingestor,
    ):
        limits = VisitorLimits(gate, Turns(2))
        for number in range(MESSAGES):
            place = place_of(f"127.60.{number % 250}.1")
            if number % 10 == 0:
                token = secrets.token_bytes(32)
                doing = Doing(place, chat)
                digest = hashlib.sha256(token).digest()
                await limits.open(doing, digest, LIFETIME, None)
            began = time.perf_counter()
            await limits.admit("message", Doing(place, chat, digest), 60)
            between = time.perf_counter()
            await ingestor.put(
                InboundMessage(chat, "web", digest, "", None, str(uuid.uuid4()), "text", "x" * 60)
            )
            asked.append(between - began)
            stored.append(time.perf_counter() - between)
    ask, store = percentile(asked, 0.5) * 1000, percentile(stored, 0.5) * 1000
    return ask, ask + store


class Asker:
    """A visitor with an open stream and an address of its own."""

    def __init__(self, base: str, chat: str, address: str) -> None:
        self._chat = f"{base}/chat/{chat}"
        connector = aiohttp.TCPConnector(local_addr=(address, 0), limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        self.http = aiohttp.ClientSession(connector=connector, timeout=timeout)
        self._answers: asyncio.Queue[float] = asyncio.Queue()
        self._reading: asyncio.Task[None] | None = None

    async def enter(self) -> None:
        async with self.http.post(f"{self._chat}/session") as answer:
            answer.raise_for_status()
            self.headers = {"Authorization": f"Bearer {(await answer.json())['token']}"}
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async with self.http.get(f"{self._chat}/stream", headers=self.headers) as stream:
            async for line in stream.content:
                if line.startswith(b"data:") and json.loads(line[5:]).get("sender") == "bot":
                    self._answers.put_nowait(time.perf_counter())

    async def say(self, text: str = "hola") -> int:
        body = {"client_id": str(uuid.uuid4()), "text": text}
        async with self.http.post(
            f"{self._chat}/messages", json=body, headers=self.headers
        ) as answer:
            await answer.read()
            return answer.status

    async def ask(self) -> float:
        began = time.perf_counter()
        if await self.say() != 200:
            raise RuntimeError("the visitor of rival was refused")
        return await asyncio.wait_for(self._answers.get(), 60) - began

    async def leave(self) -> None:
        if self._reading:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self.http.close()


@asynccontextmanager
async def flooded(base: str, acme: str) -> AsyncIterator[None]:
    """Run the flood: the visitors of acme, and an address that sends as much as it can."""
    crowd = [Asker(base, acme, f"127.70.{n % 250}.{1 + n // 250}") for n in range(VISITORS)]
    flooder = Asker(base, acme, "127.71.1.1")

    async def visit(one: Asker) -> None:
        await one.enter()
        await one.say()

    async def flood() -> None:
        await flooder.enter()
        while True:
            await asyncio.gather(*(flooder.say("x" * 4000) for _ in range(8)))

    tasks = [asyncio.create_task(visit(one)) for one in crowd]
    tasks.append(asyncio.create_task(flood()))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(one.leave() for one in [*crowd, flooder]))


async def measure_flood(base: str, acme: str, rival: str) -> tuple[list[float], list[float]]:
    """Return the seconds from rival's message to its answer, before and during the flood."""
    visitors = [Asker(base, rival, f"127.80.{n}.1") for n in range(OF_RIVAL)]
    for one in visitors:
        await one.enter()
        await one.ask()
    quiet = [await visitors[n % OF_RIVAL].ask() for n in range(ASKED)]
    async with flooded(base, acme):
        under = [await visitors[n % OF_RIVAL].ask() for n in range(ASKED)]
    for one in visitors:
        await one.leave()
    return quiet, under


def measure() -> Figures:
    before = busy()
    with platform() as started:
        urls = of_urls(connection_urls(started.running.folder))
        with psycopg.connect(urls.admin) as db:
            acme, rival = (add_company(db, name).web for name in ("acme", "rival"))
        ask, both = asyncio.run(measure_share(urls.app, acme))
        quiet, under = asyncio.run(measure_flood(started.url, acme, rival))
    yield Figure(
        id="visitor_limits_share",
        title="asking the visitors' limits",
        measured=ask,
        unit="ms",
        baseline="asking them and storing the message",
        baseline_measured=both,
        ratio=ask / both,
        goal=MAX_SHARE,
        details=f"medians of {MESSAGES} messages, one after another; {before}",
    )
    calm, flooded_ms = (percentile(times, 0.5) * 1000 for times in (quiet, under))
    yield Figure(
        id="visitor_flood",
        title=f"rival's message to its answer while {VISITORS} visitors and a flood reach acme",
        measured=flooded_ms,
        unit="ms",
        baseline="the same before the flood",
        baseline_measured=calm,
        ratio=flooded_ms / calm,
        goal=MAX_RATIO,
        details=f"medians; worst {max(under) * 1000:.0f} and {max(quiet) * 1000:.0f} ms; {before}",
    )
