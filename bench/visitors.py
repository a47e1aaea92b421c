"""Visitors of the web chat over HTTP, each with its own session and live stream."""

from __future__ import annotations

import asyncio
import json
import random
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from bench.sizes import sized
from bench.support import CHAT_PATH, percentile

ANSWER_SECONDS = 10.0  # a missing answer counts as this long
THINK_SECONDS = sized((1.0, 3.0), tiny=(0.0, 0.05))
MAX_QUESTIONS = 20  # questions; a session may send 30 messages at once


@dataclass(frozen=True)
class Answer:
    """The time at which the bot's answer was read, and whether it names a source.

    ``at`` is a value of ``time.perf_counter``.
    """

    at: float
    cited: bool


@dataclass
class Measured:
    """The seconds of a crowd's answers, and the number of answers without a source."""

    seconds: list[float] = field(default_factory=list)
    missing: int = 0

    def milliseconds(self, share: float) -> float:
        return percentile(self.seconds, share) * 1000


class Visitor:
    """A browser that asks questions and reads the events of its stream."""

    def __init__(self, http: aiohttp.ClientSession, base: str) -> None:
        self._http, self._chat = http, base + CHAT_PATH
        self._headers: dict[str, str] = {}
        self._stream: asyncio.Task[None] | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._asked = 0

    async def enter(self) -> None:
        """Open a session and its stream."""
        await self.leave()
        self._asked = 0
        async with self._http.post(f"{self._chat}/session") as response:
            response.raise_for_status()
            token = (await response.json())["token"]
        self._headers = {"Authorization": f"Bearer {token}"}
        opened = asyncio.Event()
        self._stream = asyncio.create_task(self._read(opened))
        await opened.wait()

    async def leave(self) -> None:
        """Close the stream."""
        if self._stream is not None:
            self._stream.cancel()
            await asyncio.gather(self._stream, return_exceptions=True)

    async def _read(self, opened: asyncio.Event) -> None:
        timeout = aiohttp.ClientTimeout(total=None)
        url = f"{self._chat}/stream"
        async with self._http.get(url, headers=self._headers, timeout=timeout) as response:
            response.raise_for_status()
            opened.set()
            event = ""
            async for line in response.content:
                if line.startswith(b"event:"):
                    event = line[6:].strip().decode()
                elif line.startswith(b"data:") and event == "message":
                    self._take(json.loads(line[5:]))

    def _take(self, message: dict[str, object]) -> None:
        waiting = self._waiting
        if message["sender"] == "bot" and waiting is not None and not waiting.done():
            waiting.set_result(Answer(time.perf_counter(), bool(message["sources"])))

    async def ask(self, question: str) -> tuple[float, bool]:
        """Ask a question.

        Returns the seconds from the POST until the answer is parsed, and whether it names a source.
        """
        if self._asked >= MAX_QUESTIONS:
            await self.enter()
        self._asked += 1
        self._waiting = asyncio.get_running_loop().create_future()
        started = time.perf_counter()
        body = {"client_id": str(uuid.uuid4()), "text": question}
        url = f"{self._chat}/messages"
        async with self._http.post(url, json=body, headers=self._headers) as response:
            response.raise_for_status()
        try:
            answer = await asyncio.wait_for(self._waiting, ANSWER_SECONDS)
        except TimeoutError:
            return ANSWER_SECONDS, False
        return answer.at - started, answer.cited


@asynccontextmanager
async def crowd(base: str, size: int) -> AsyncIterator[list[Visitor]]:
    """``size`` visitors with open streams."""
    async with AsyncExitStack() as stack:
        visitors = []
        for number in range(size):  # each visitor has its own address, as in reality
            address = (f"127.90.{number // 250}.{1 + number % 250}", 0)
            connector = aiohttp.TCPConnector(limit=0, local_addr=address)
            http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            visitors.append(Visitor(http, base))
        for visitor in visitors:
            await visitor.enter()
        try:
            yield visitors
        finally:
            for visitor in visitors:
                await visitor.leave()


async def cited_questions(base: str, questions: Sequence[str]) -> tuple[list[str], list[float]]:
    """Return the questions that the bot answers with a source.

    The second list has the seconds of each question, asked by one visitor.
    """
    cited: list[str] = []
    seconds: list[float] = []
    async with crowd(base, 1) as [visitor]:
        for question in questions:
            took, is_cited = await visitor.ask(question)
            if is_cited:
                cited.append(question)
                seconds.append(took)
            else:  # the conversation now waits for a person
                await visitor.enter()
    return cited, seconds


async def ask_in_turn(
    visitor: Visitor, questions: Sequence[str], chance: random.Random, measured: Measured
) -> None:
    """Think, ask and read, once per question."""
    for question in questions:
        await asyncio.sleep(chance.uniform(*THINK_SECONDS))
        await ask_once(visitor, question, measured)


async def ask_once(visitor: Visitor, question: str, measured: Measured) -> None:
    """Ask one question into ``measured``; without a cited answer it counts as the longest wait."""
    took, is_cited = await visitor.ask(question)
    measured.seconds.append(took if is_cited else ANSWER_SECONDS)
    if not is_cited:
        measured.missing += 1
        await visitor.enter()


async def busy_hour(
    visitors: Sequence[Visitor], questions: Sequence[str], each: int, seed: int = 1
) -> Measured:
    """Let all visitors ask at the same time, each ``each`` questions one after another."""
    measured = Measured()
    tasks = []
    for number, visitor in enumerate(visitors):
        chance = random.Random(seed * 1000 + number)
        own = [chance.choice(questions) for _ in range(each)]
        tasks.append(ask_in_turn(visitor, own, chance, measured))
    await asyncio.gather(*tasks)
    return measured


async def one_instant(visitors: Sequence[Visitor], questions: Sequence[str]) -> Measured:
    """Let every visitor press "send" in the same instant, once."""
    measured = Measured()
    await asyncio.gather(
        *(
            ask_once(visitor, questions[number % len(questions)], measured)
            for number, visitor in enumerate(visitors)
        )
    )
    return measured
