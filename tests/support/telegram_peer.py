"""A Bot API server for tests: a real HTTP peer on loopback, judged by aiogram's types.

What we send is read with aiogram's methods and what it answers is written with aiogram's types, so
that neither side of the conversation is checked only by our own reading of the documentation.
"""

from __future__ import annotations

import itertools
import json
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
from aiogram.methods import GetMe, SendMessage, SetWebhook
from aiogram.types import Chat, Message, Update, User

SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"
_METHODS: dict[str, type[GetMe] | type[SendMessage] | type[SetWebhook]] = {
    "getMe": GetMe,
    "sendMessage": SendMessage,
    "setWebhook": SetWebhook,
}


@dataclass
class Bot:
    """A bot that @BotFather has made."""

    id: int
    username: str
    webhook: SetWebhook | None = None


@dataclass(frozen=True)
class Refuse:
    """Answer with an error, as Telegram words it."""

    status: int
    description: str
    retry_after: int | None = None


@dataclass(frozen=True)
class Drop:
    """Read the request, then cut the connection without an answer."""

    shows: bool = True  # whether the message was shown to the end user before the cut


@dataclass(frozen=True)
class Drip:
    """Answer, but a byte at a time with this pause."""

    pause: float


@dataclass(frozen=True)
class Raw:
    """Answer with these bytes: what a proxy in between may say."""

    status: int
    body: bytes


Behaviour = Refuse | Drop | Drip | Raw


@dataclass
class TelegramPeer:
    """The server. ``sent`` is what end users were shown, in order."""

    bots: dict[str, Bot] = field(default_factory=dict)
    sent: list[tuple[str, SendMessage]] = field(default_factory=list)
    next: deque[Behaviour] = field(default_factory=deque)
    url: str = ""
    knows_every_token: bool = False
    requests: int = 0
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Condition()
        self._gate = threading.Event()
        self._gate.set()
        self._message_ids = itertools.count(100)
        self._update_ids = itertools.count(700_000_000)
        self._ids = itertools.count(7_000_000)

    def add_bot(self, username: str) -> str:
        """The token of a new bot."""
        number = next(self._ids)
        token = f"{number}:AAE-{username}_secret"
        self.bots[token] = Bot(number, username)
        return token

    def texts(self, chat_id: int | None = None, token: str | None = None) -> list[str]:
        """What was shown, in order; of one chat or one bot if given."""
        with self._lock:
            return [
                message.text
                for bot, message in self.sent
                if (chat_id is None or str(message.chat_id) == str(chat_id))
                and (token is None or bot == token)
            ]

    def wait_for_texts(self, count: int, chat_id: int | None = None, seconds: float = 20) -> None:
        """Until at least ``count`` messages were shown."""
        with self._lock:
            enough = self._lock.wait_for(lambda: len(self.texts_now(chat_id)) >= count, seconds)
        assert enough, f"{count} messages did not arrive: {self.texts(chat_id)}"

    def texts_now(self, chat_id: int | None) -> list[SendMessage]:
        return [m for _, m in self.sent if chat_id is None or str(m.chat_id) == str(chat_id)]

    def wait_for_requests(self, count: int, seconds: float = 20) -> None:
        """Until at least ``count`` sendMessage requests were read, answered or not."""
        with self._lock:
            assert self._lock.wait_for(lambda: self.requests >= count, seconds), "no request came"

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Requests are read, and answered only after the block."""
        self._gate.clear()
        try:
            yield
        finally:
            self._gate.set()

    # What end users do ---------------------------------------------------------------------------
    def update(self, text: str, chat_id: int, *, name: str = "Ana", **extra: object) -> Update:
        """A new private text message, as an Update of its own."""
        message = Message(
            message_id=next(self._message_ids),
            date=datetime.now(UTC),
            chat=Chat(id=chat_id, type="private", first_name=name),
            from_user=User(id=chat_id, is_bot=False, first_name=name, language_code="es"),
            text=text,
        )
        return Update(update_id=next(self._update_ids), message=message, **extra)

    async def push(self, token: str, update: Update, *, most_tries: int = 40) -> int:
        """Deliver to the webhook until it says 200, as Telegram does; how often it took."""
        body = update.model_dump_json(by_alias=True, exclude_none=True).encode()
        return await self.push_bytes(token, body, most_tries=most_tries)

    async def push_bytes(self, token: str, body: bytes, *, most_tries: int = 40) -> int:
        import asyncio

        webhook = self.bots[token].webhook
        assert webhook is not None, "setWebhook was never called"
        headers = {"Content-Type": "application/json", SECRET_HEADER: webhook.secret_token or ""}
        async with httpx.AsyncClient(timeout=15) as client:
            for attempt in range(1, most_tries + 1):
                with suppress(httpx.TransportError):
                    answer = await client.post(webhook.url, content=body, headers=headers)
                    if answer.status_code == 200:
                        return attempt
                await asyncio.sleep(min(0.05 * attempt, 0.5))
        raise AssertionError("the webhook never took the update")

    # What bots ask -------------------------------------------------------------------------------
    def _answer(self, handler: _Handler, token: str, method: str, body: bytes) -> None:
        bot = self.bots.get(token)
        if bot is None and self.knows_every_token:
            number = next(self._ids)
            bot = self.bots[token] = Bot(number, f"bot_{number}")
        if bot is None:
            handler.say(401, {"ok": False, "error_code": 401, "description": "Unauthorized"})
            return
        asked = _METHODS[method].model_validate_json(body or b"{}")
        if asked.model_extra:
            self.faults.append(f"{method}: unknown parameters {asked.model_extra}")
        if isinstance(asked, GetMe):
            me = User(id=bot.id, is_bot=True, first_name=bot.username, username=bot.username)
            handler.say_ok(json.loads(me.model_dump_json(exclude_none=True)))
        elif isinstance(asked, SetWebhook):
            bot.webhook = asked
            handler.say_ok(True)
        else:
            self._send(handler, token, bot, asked)

    def _send(self, handler: _Handler, token: str, bot: Bot, asked: SendMessage) -> None:
        with self._lock:
            behaviour = self.next.popleft() if self.next else None
            self.requests += 1
            shown = not isinstance(behaviour, Refuse | Raw) and (
                not isinstance(behaviour, Drop) or behaviour.shows
            )
            if shown:
                if not 1 <= len(asked.text) <= 4096:
                    self.faults.append(f"a text of {len(asked.text)} characters")
                self.sent.append((token, asked))
            self._lock.notify_all()
        self._gate.wait(60)
        if isinstance(behaviour, Refuse):
            handler.refuse(behaviour)
            return
        if isinstance(behaviour, Drop):
            handler.drop()
            return
        if isinstance(behaviour, Raw):
            handler.say_bytes(behaviour.status, behaviour.body)
            return
        message = Message(
            message_id=next(self._message_ids),
            date=datetime.now(UTC),
            chat=Chat(id=int(asked.chat_id), type="private", first_name="Ana"),
            from_user=User(id=bot.id, is_bot=True, first_name=bot.username),
            text=asked.text,
        )
        pause = behaviour.pause if isinstance(behaviour, Drip) else 0.0
        handler.say_ok(json.loads(message.model_dump_json(by_alias=True, exclude_none=True)), pause)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    peer: TelegramPeer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        _, bot, method = self.path.split("/")
        with suppress(BrokenPipeError, ConnectionResetError):
            self.peer._answer(self, bot.removeprefix("bot"), method, body)

    def say_ok(self, result: object, pause: float = 0.0) -> None:
        self.say(200, {"ok": True, "result": result}, pause)

    def refuse(self, why: Refuse) -> None:
        answer = {"ok": False, "error_code": why.status, "description": why.description}
        if why.retry_after is not None:
            answer["parameters"] = {"retry_after": why.retry_after}
        self.say(why.status, answer)

    def say(self, status: int, answer: object, pause: float = 0.0) -> None:
        self.say_bytes(status, json.dumps(answer).encode(), pause)

    def say_bytes(self, status: int, data: bytes, pause: float = 0.0) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if not pause:
            self.wfile.write(data)
            return
        for byte in data:
            self.wfile.write(bytes([byte]))
            time.sleep(pause)

    def drop(self) -> None:
        """A reset, as of a peer that died."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that was killed is not an error of the peer."""


@contextmanager
def telegram_peer() -> Iterator[TelegramPeer]:
    """A running peer; afterwards nothing that it was sent may have been at fault."""
    peer = TelegramPeer()
    handler = type("Handler", (_Handler,), {"peer": peer})
    server = _Server(("127.0.0.1", 0), handler)
    peer.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield peer
    finally:
        peer._gate.set()
        server.shutdown()
        thread.join()
        server.server_close()
    assert peer.faults == []


def until(condition: Callable[[], bool], seconds: float = 20, why: str = "") -> None:
    """Wait for something that happens in another process or thread."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, why or "it did not happen in time"
        time.sleep(0.02)
