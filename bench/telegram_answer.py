"""From an update that Telegram pushes to the cited answer at Telegram's door, with 20 chats.

Run: ``python bench/telegram_answer.py`` (about 1 minute). Telegram is the tests' peer, a real HTTP
server on loopback in this process, so a figure holds the peer's own work too.
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
from support import ROOT, Running, busy, demo, demo_questions, empty_folder, report
from visitors import ANSWER_SECONDS, THINK_SECONDS, Measured, cited_questions

# Last, so that a neighbour of the peer's (platform.py) hides nothing of Python's.
sys.path.append(str(ROOT / "tests" / "support"))
from telegram_peer import SECRET_HEADER, TelegramPeer, telegram_peer

GOAL_MS = 600
CHATS = 20
EACH = 6
BOT = "Asistente Los Cedros"


@dataclass
class Arrivals:
    """Who waits in which chat, told by the peer's threads the moment a message arrives."""

    loop: asyncio.AbstractEventLoop
    waiting: dict[str, asyncio.Future[tuple[float, str]]] = field(default_factory=dict)

    def told(self, chat_id: str, text: str) -> None:
        """Called in a thread of the peer's."""
        self.loop.call_soon_threadsafe(self._settle, chat_id, (time.perf_counter(), text))

    def _settle(self, chat_id: str, arrival: tuple[float, str]) -> None:
        waiting = self.waiting.get(chat_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(arrival)


class WatchedSent(list[tuple[str, Any]]):
    """The peer's list of messages, which tells of each one as it is added."""

    def __init__(self, arrivals: Arrivals) -> None:
        super().__init__()
        self._arrivals = arrivals

    def append(self, entry: tuple[str, Any]) -> None:
        super().append(entry)
        _, message = entry
        self._arrivals.told(str(message.chat_id), message.text)


def connect(platform: Running, peer: TelegramPeer) -> str:
    """Connect a new bot with our command line; its token."""
    token = peer.add_bot("los_cedros_bot")
    environment = {
        **os.environ,
        "NEURANT_DATA_DIR": str(platform.folder),
        "NEURANT_PORT": str(platform.port),
        "NEURANT_TELEGRAM_API_URL": peer.url,
        "NEURANT_TELEGRAM_TOKEN": token,
    }
    command = [sys.executable, "-m", "neurant", "channels", "connect", "telegram", "--bot", BOT]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    return token


@dataclass
class Telegram:
    """The end users' side: pushes updates as Telegram does and waits for what is sent back."""

    peer: TelegramPeer
    token: str
    http: aiohttp.ClientSession
    arrivals: Arrivals
    documents: Sequence[str]

    async def ask(self, chat_id: int, question: str) -> tuple[float, bool]:
        """Seconds from the push until the answer is at the peer; whether it names a document."""
        update = self.peer.update(question, chat_id)
        body = update.model_dump_json(by_alias=True, exclude_none=True).encode()
        webhook = self.peer.bots[self.token].webhook
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
        """One end user: think, ask, read, and again."""
        chance = random.Random(chat_id)
        for _ in range(EACH):
            await asyncio.sleep(chance.uniform(*THINK_SECONDS))
            took, is_cited = await self.ask(chat_id, chance.choice(questions))
            measured.seconds.append(took if is_cited else ANSWER_SECONDS)
            measured.missing += not is_cited


def document_names() -> list[str]:
    """As the answers name them: without the file's extension."""
    path = ROOT / "tests" / "knowledge" / "demo_questions.toml"
    answerable = tomllib.loads(path.read_text("utf-8"))["answerable"]
    return sorted({one["document"].rpartition(".")[0] for one in answerable})


async def main() -> None:
    before, measured = busy(), Measured()
    with (
        telegram_peer() as peer,
        empty_folder() as folder,
        demo(folder, {"NEURANT_TELEGRAM_API_URL": peer.url}) as platform,
    ):
        questions, _ = await cited_questions(platform.url, demo_questions())
        token = await asyncio.to_thread(connect, platform, peer)
        arrivals = Arrivals(asyncio.get_running_loop())
        peer.sent = WatchedSent(arrivals)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            telegram = Telegram(peer, token, http, arrivals, document_names())
            await telegram.ask(999, questions[0])
            chats = range(1001, 1001 + CHATS)
            await asyncio.gather(*(telegram.chat(chat, questions, measured) for chat in chats))
    report(
        "telegram_answer",
        "Telegram, update pushed to cited answer received, 20 chats, p95 ms",
        measured.milliseconds(0.95),
        GOAL_MS,
        f"{len(measured.seconds)} questions, median {measured.milliseconds(0.5):.0f} ms,"
        f" worst {max(measured.seconds) * 1000:.0f} ms, {measured.missing} without a source;"
        f" 1 to 3 s of thinking between two questions; {before}",
    )


if __name__ == "__main__":
    asyncio.run(main())
