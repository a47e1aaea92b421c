"""A hostile client of one company: everything that it can send at once, for a bounded time.

Run as a process of its own with the lowest priority, because an attacker's computing time is not
the platform's: ``python -m support.flood`` reads its orders (JSON) from standard input and prints
how often each attack was made and how it was answered (JSON).
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import sys
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import aiohttp

CONCURRENT_SESSIONS = 20
MESSAGES_PER_SESSION = 5
MESSAGE = "¿Cuánto cuesta el servicio? " * 140  # about 4,000 characters
CONCURRENT_SEARCHES = 50
CONCURRENT_PREVIEWS = 10
CONCURRENT_EXPORTS = 8
ENDLESS_HEADERS = 10
HALF_OPEN = 50
SECONDS_BETWEEN_DOCUMENTS = 1.0
_HEADER_BYTES = 64 * 1024
_MAX_HEADER_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Orders:
    """What to attack. ``documents``: file names and their bytes in base64."""

    host: str
    port: int
    seconds: float
    routing_id: str
    bot_id: str
    token: str
    documents: dict[str, str]

    @property
    def base(self) -> str:
        return f"http://{self.host}:{self.port}"


@dataclass
class Attacker:
    """Makes attacks until the time is over, and counts the answers."""

    orders: Orders
    answers: Counter[str]
    ends: float

    def addresses(self) -> Iterator[str]:
        """Source addresses of loopback: a network of 250 hosts, and then the next one."""
        for number in itertools.count():
            yield f"127.{7 + number // 62500 % 100}.{number // 250 % 250}.{1 + number % 250}"

    async def repeat(self, attack: Callable[[], Awaitable[str]], pause: float = 0.0) -> None:
        """Make an attack again and again; a refused connection is an answer, too."""
        while time.monotonic() < self.ends:
            try:
                async with asyncio.timeout(max(0.1, self.ends - time.monotonic())):
                    self.answers[await attack()] += 1
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                self.answers[f"{attack.__name__} {type(error).__name__}"] += 1
                await asyncio.sleep(0.05)
            await asyncio.sleep(pause)

    @property
    def authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.orders.token}"}


async def flood(orders: Orders) -> Counter[str]:
    """All attacks side by side; the count of each answer as "attack status"."""
    attacker = Attacker(orders, Counter(), time.monotonic() + orders.seconds)
    addresses = attacker.addresses()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:

        async def visitors() -> str:
            return await _visit(attacker, next(addresses))

        async def searches() -> str:
            url = f"{orders.base}/v1/knowledge/search"
            body = {"query": f"precio {uuid.uuid4()}", "chatbot_id": orders.bot_id}
            async with http.post(url, json=body, headers=attacker.authorization) as answer:
                await answer.read()
                return f"search {answer.status}"

        async def previews() -> str:
            url = f"{orders.base}/v1/chatbots/{orders.bot_id}/preview"
            body = {"message": f"¿Cuánto cuesta {uuid.uuid4()}?"}
            async with http.post(url, json=body, headers=attacker.authorization) as answer:
                await answer.read()
                return f"preview {answer.status}"

        documents = itertools.cycle(orders.documents.items())

        async def uploads() -> str:
            return await _upload(attacker, http, *next(documents))

        async def exports() -> str:
            return await _unread_export(attacker)

        async def headers() -> str:
            return await _endless_headers(attacker)

        async def half_open() -> str:
            return await _half_open(attacker)

        tasks = [
            *(attacker.repeat(visitors) for _ in range(CONCURRENT_SESSIONS)),
            *(attacker.repeat(searches) for _ in range(CONCURRENT_SEARCHES)),
            *(attacker.repeat(previews) for _ in range(CONCURRENT_PREVIEWS)),
            *(attacker.repeat(exports) for _ in range(CONCURRENT_EXPORTS)),
            *(attacker.repeat(headers) for _ in range(ENDLESS_HEADERS)),
            *(attacker.repeat(half_open) for _ in range(HALF_OPEN)),
            attacker.repeat(uploads, SECONDS_BETWEEN_DOCUMENTS),
        ]
        await asyncio.gather(*tasks)
    return attacker.answers


async def _visit(attacker: Attacker, address: str) -> str:
    """Open a session from this address and write long messages."""
    chat = f"{attacker.orders.base}/chat/{attacker.orders.routing_id}"
    connector = aiohttp.TCPConnector(local_addr=(address, 0))
    async with aiohttp.ClientSession(connector=connector) as http:
        async with http.post(f"{chat}/session") as answer:
            if answer.status != 201:
                return f"visitor {answer.status}"
            token = (await answer.json())["token"]
        for _ in range(MESSAGES_PER_SESSION):
            body = {"client_id": str(uuid.uuid4()), "text": MESSAGE[:4000]}
            headers = {"Authorization": f"Bearer {token}"}
            async with http.post(f"{chat}/messages", json=body, headers=headers) as answer:
                attacker.answers[f"message {answer.status}"] += 1
        return "visitor 201"


async def _upload(attacker: Attacker, http: aiohttp.ClientSession, name: str, content: str) -> str:
    form = aiohttp.FormData()
    unique = base64.b64decode(content) + f"\n%{uuid.uuid4()}".encode()  # never "already there"
    form.add_field("file", unique, filename=name)
    url = f"{attacker.orders.base}/v1/chatbots/{attacker.orders.bot_id}/documents"
    async with http.post(url, data=form, headers=attacker.authorization) as answer:
        await answer.read()
        return f"document {answer.status}"


async def _unread_export(attacker: Attacker) -> str:
    """Ask for an export and read nothing of it for as long as the server allows."""
    reader, writer = await asyncio.open_connection(
        attacker.orders.host, attacker.orders.port, limit=1024
    )
    token = attacker.orders.token
    request = f"GET /v1/export HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
    try:
        writer.write(request.encode())
        status = (await reader.readline()).split(b" ")[1].decode()
        if status == "200":
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.sleep(attacker.ends - time.monotonic())
        return f"export {status}"
    except IndexError:
        return "export closed"
    finally:
        writer.transport.abort()


async def _endless_headers(attacker: Attacker) -> str:
    """Send header lines without end."""
    _, writer = await asyncio.open_connection(attacker.orders.host, attacker.orders.port)
    try:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        line = b"X-Filler: " + b"x" * 1000 + b"\r\n"
        block = line * (_HEADER_BYTES // len(line))
        for _ in range(_MAX_HEADER_BYTES // len(block)):
            writer.write(block)
            await writer.drain()
        return "headers taken"
    except ConnectionError:
        return "headers refused"
    finally:
        writer.transport.abort()


async def _half_open(attacker: Attacker) -> str:
    """Begin a request and never finish it."""
    reader, writer = await asyncio.open_connection(attacker.orders.host, attacker.orders.port)
    try:
        writer.write(b"POST /v1/session HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        answer = await reader.read(64)
        return "half open answered" if answer else "half open closed"
    finally:
        writer.transport.abort()


if __name__ == "__main__":
    given = Orders(**json.load(sys.stdin))
    json.dump(asyncio.run(flood(given)), sys.stdout)
