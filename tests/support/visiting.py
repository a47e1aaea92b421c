"""Visitors of web chats as the limits see them: each from an address of its own on loopback."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx

from neurant.channels.webchat.proof_of_work import is_solution
from neurant.core.settings import Settings
from neurant.runtime.app import create_app
from tests.support.platform import free_port, serving


def addresses(first: str = "127.20") -> Iterator[str]:
    """Addresses of 127.0.0.0/8, each in a network of its own."""
    for network in range(1, 250):
        yield f"{first}.{network}.1"


@dataclass
class Site:
    """Web processes on one database."""

    urls: list[str]
    clients: AsyncExitStack
    opened: dict[tuple[int, str], httpx.AsyncClient] = field(default_factory=dict)

    async def http(self, address: str = "127.0.0.1", process: int = 0) -> httpx.AsyncClient:
        """A client that connects from this address; the same one again for the same address."""
        if (process, address) not in self.opened:
            transport = httpx.AsyncHTTPTransport(
                local_address=address,
                verify=False,
                limits=httpx.Limits(max_keepalive_connections=0),
            )
            client = httpx.AsyncClient(base_url=self.urls[process], transport=transport, timeout=30)
            self.opened[process, address] = await self.clients.enter_async_context(client)
        return self.opened[process, address]

    async def open(
        self,
        chat: str,
        address: str = "127.0.0.1",
        process: int = 0,
        proof: dict[str, Any] | None = None,
    ) -> httpx.Response:
        client = await self.http(address, process)
        return await client.post(f"/chat/{chat}/session", json={"proof": proof})

    async def write(
        self, chat: str, token: str, text: str, address: str = "127.0.0.1", process: int = 0
    ) -> httpx.Response:
        client = await self.http(address, process)
        return await client.post(
            f"/chat/{chat}/messages",
            json={"client_id": str(uuid4()), "text": text},
            headers={"Authorization": f"Bearer {token}"},
        )


@asynccontextmanager
async def site(settings: Settings, processes: int = 1) -> AsyncIterator[Site]:
    """Web processes with these settings."""
    async with AsyncExitStack() as stack:
        urls = []
        for _ in range(processes):
            port = free_port()
            urls.append(
                await stack.enter_async_context(serving(create_app(settings), port, lifespan="on"))
            )
        yield Site(urls, stack)


def solve(challenge: dict[str, Any]) -> dict[str, Any]:
    """The solution of a challenge, as the page's script finds it."""
    text, bits = challenge["challenge"], challenge["bits"]
    numbers = []
    for index in range(challenge["searches"]):
        prefix = hashlib.sha256(f"{text}:{index}:".encode())
        number = 0
        while True:
            trial = prefix.copy()
            trial.update(str(number).encode())
            if int.from_bytes(trial.digest()[:4], "big") >> (32 - bits) == 0:
                break
            number += 1
        assert is_solution(text, index, number, bits)
        numbers.append(number)
    return {"challenge": text, "numbers": numbers}


async def many(count: int, calls: object, at_once: int = 40) -> list[httpx.Response]:
    """The answers of ``calls(number)`` for each number, some at once."""
    room = asyncio.Semaphore(at_once)

    async def one(number: int) -> httpx.Response:
        async with room:
            return await calls(number)

    return await asyncio.gather(*(one(number) for number in range(count)))
