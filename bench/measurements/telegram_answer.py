"""The time from an update that Telegram pushes to the cited answer at Telegram, with 20 chats.

The tests' peer, a real HTTP server on loopback in this process, replaces Telegram, so a figure
includes the peer's own work. The baseline is one visitor of the web chat who asks alone.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bench.figures import Figure, Figures
from bench.peer import SECRET_HEADER, TelegramPeer
from bench.platform import Platform, platform
from bench.product import DEMO_QUESTIONS
from bench.sizes import sized
from bench.support import ROOT, busy, demo_questions, percentile
from bench.visitors import ANSWER_SECONDS, THINK_SECONDS, Measured, cited_questions

GOAL_MS = 600
CHATS = sized(20, tiny=2)
EACH = sized(6, tiny=1)
QUESTIONS = sized(None, tiny=2)  # the demo questions, all or the first few
BOT = "Asistente Los Cedros"


@dataclass
class Arrivals:
    """The chats that wait for an answer; the peer's threads report each message as it arrives."""

    loop: asyncio.AbstractEventLoop
    waiting: dict[str, asyncio.Future[tuple[float, str]]] = field(default_factory=dict)

    def report(self, chat_id: str, text: str) -> None:
        """Report a message; a thread of the peer calls this."""
        self.loop.call_soon_threadsafe(self._settle, chat_id, (time.perf_counter(), text))

    def _settle(self, chat_id: str, arrival: tuple[float, str]) -> None:
        waiting = self.waiting.get(chat_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(arrival)


class WatchedSent(list[tuple[str, Any]]):
    """A list for the peer's sent messages that reports each message as it is added."""

    def __init__(self, arrivals: Arrivals) -> None:
        super().__init__()
        self._arrivals = arrivals

    def append(self, entry: tuple[str, Any]) -> None:
        super().append(entry)
        _, message = entry
        self._arrivals.report(str(message.chat_id), message.text)


def connect(started: Platform) -> str:
    """Connect a new bot with our command line; return its token."""
    token = started.peer.add_bot("los_cedros_bot")
    environment = {
        **os.environ,
        "NEURANT_DATA_DIR": str(started.running.folder),
        "NEURANT_PORT": str(started.running.port),
        "NEURANT_TELEGRAM_API_URL": started.peer.url,
        "NEURANT_TELEGRAM_TOKEN": token,
    }
    command = [sys.executable, "-m", "neurant", "channels", "connect", "telegram", "--bot", BOT]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return token


@dataclass
class Telegram:
    """The end users' side, which pushes updates as Telegram does and waits for the answers."""

    peer: TelegramPeer
    token: str
    http: aiohttp.ClientSession
    arrivals: Arrivals
    documents: Sequence[str]

    async def ask(self, chat_id: int, question: str) -> tuple[float, bool]:
        """Push a question.

        Returns the seconds until the answer is at the peer, and whether it names a document.
        """
        update = self.peer.update(question, chat_id)
        body = update.model_dump_json(by_alias=True, exclude_none=True).encode()
        webhook = self.peer.bots[self.token].webhook
        assert webhook
        assert webhook.secret_token
        headers = {"Content-Type": "application/json", SECRET_HEADER: webhook.secret_token}
        waiting = asyncio.get_running_loop().create_future()
        self.arrivals.waiting[str(chat_id)] = waiting
        started = time.perf_counter()
        async with self.http.post(webhook.url, data=body, headers=headers) as response:
            response.raise_for_status()
        try:
            at, text = await asyncio.wait_for(waiting, ANSWER_SECONDS)
        except TimeoutError:
            return ANSWER_SECONDS, False
        return at - started, any(name in text for name in self.documents)

    async def chat(self, chat_id: int, questions: Sequence[str], measured: Measured) -> None:
        """Act as one end user: think, ask and read, once per question."""
        chance = random.Random(chat_id)
        for _ in range(EACH):
            await asyncio.sleep(chance.uniform(*THINK_SECONDS))
            took, is_cited = await self.ask(chat_id, chance.choice(questions))
            measured.seconds.append(took if is_cited else ANSWER_SECONDS)
            measured.missing += not is_cited


def document_names() -> list[str]:
    """Return the documents' names without the file's extension, as answers show them."""
    answerable = tomllib.loads(DEMO_QUESTIONS.read_text("utf-8"))["answerable"]
    return sorted({one["document"].rpartition(".")[0] for one in answerable})


async def chat_all(started: Platform) -> tuple[Measured, list[float]]:
    """Return the measurements of the chats, and the seconds of one web visitor alone."""
    measured = Measured()
    questions, alone = await cited_questions(started.url, demo_questions()[:QUESTIONS])
    token = await asyncio.to_thread(connect, started)
    arrivals = Arrivals(asyncio.get_running_loop())
    started.peer.sent = WatchedSent(arrivals)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        telegram = Telegram(started.peer, token, http, arrivals, document_names())
        await telegram.ask(999, questions[0])  # the first answer warms up
        chats = range(1001, 1001 + CHATS)
        await asyncio.gather(*(telegram.chat(chat, questions, measured) for chat in chats))
    return measured, alone


def measure() -> Figures:
    before = busy()
    with platform() as started:
        measured, seconds_alone = asyncio.run(chat_all(started))
    milliseconds, alone = measured.milliseconds(0.95), percentile(seconds_alone, 0.5) * 1000
    yield Figure(
        id="telegram_answer",
        title=f"Telegram, update pushed to cited answer received, {CHATS} chats, p95",
        measured=milliseconds,
        unit="ms",
        baseline="one visitor of the web chat alone, median",
        baseline_measured=alone,
        ratio=milliseconds / alone,
        goal=GOAL_MS,
        goal_on="measured",
        details=f"{len(measured.seconds)} questions, median {measured.milliseconds(0.5):.0f} ms,"
        f" worst {max(measured.seconds) * 1000:.0f} ms, {measured.missing} without a source;"
        f" 1 to 3 s of thinking between two questions; {before}",
    )
