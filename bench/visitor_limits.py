"""What the limits of visitors cost, and what a flood on one company does to another.

Run: ``python bench/visitor_limits.py`` (about 2 minutes). All figures are of one run.

1. The share of the limits in storing a message: asking them, of asking them and storing it.
2. 520 visitors of acme, each from an address of its own, with an open stream, say "hola" while one
   more address sends what it can. A visitor of rival asks all the while: from its message to the
   answer on its stream, against the same before the flood.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import secrets
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import aiohttp
import psycopg
from support import busy, empty_folder, free_port, percentile, report

from neurant.channels.events import InboundMessage
from neurant.channels.ingest import Ingestor
from neurant.channels.webchat.limits import Doing, VisitorLimits
from neurant.channels.webchat.visitors import LIFETIME
from neurant.core.client_address import place_of
from neurant.core.db.pool import make_pool
from neurant.core.realtime import Hub
from neurant.core.turns import Turns
from neurant.installation.embedded import start_supervised
from neurant.installation.install import read_secrets
from neurant.installation.migrate import migrate, set_login_passwords

MOST_SHARE = 0.6  # of storing a message; a whole answer takes many times as long
MOST_RATIO = 3.0  # of rival's time; the two processes share the machine with the flood
MESSAGES = 300
VISITORS = 520
ASKED = 25


def make_company(admin_url: str, name: str) -> str:
    """A company with a bot and a web chat; the chat's routing id."""
    chat = f"web-{name}-{secrets.token_hex(4)}"
    with psycopg.connect(admin_url) as db:
        [company] = db.execute(
            "insert into companies (name, slug, email, subscription_plan, monthly_message_limit,"
            " max_chatbots) values (%s, %s, 'a@bench.example', 'enterprise', -1, -1) returning id",
            (name, chat),
        ).fetchone()
        [owner] = db.execute(
            "insert into users (company_id, email, first_name, last_name, role, is_owner)"
            " values (%s, 'a@bench.example', 'A', 'B', 'owner', true) returning id",
            (company,),
        ).fetchone()
        [bot] = db.execute(
            "insert into chatbots (company_id, name, system_prompt, response_delay_ms, created_by)"
            " values (%s, 'Bot', 'Responde.', 0, %s) returning id",
            (company, owner),
        ).fetchone()
        db.execute(
            "insert into channel_accounts (company_id, chatbot_id, channel, routing_id,"
            " display_name) values (%s, %s, 'web', %s, 'Web')",
            (company, bot, chat),
        )
    return chat


async def measure_share(app_url: str, chat: str) -> float:
    """Seconds of asking the limits, of asking and storing; medians of one run, in turn."""
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
    ask, store = percentile(asked, 0.5), percentile(stored, 0.5)
    print(f"     asking {ask * 1000:.2f} ms, storing {store * 1000:.2f} ms (medians)")
    return ask / (ask + store)


@contextmanager
def processes(folder: Path, app: str, jobs: str) -> Iterator[str]:
    """A web process and a worker; the web's address."""
    port = free_port()
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("NEURANT_")},
        "NEURANT_DATA_DIR": str(folder / "data"),
        "NEURANT_APP_DATABASE_URL": app,
        "NEURANT_JOBS_DATABASE_URL": jobs,
        "NEURANT_MASTER_KEY": base64.b64encode(os.urandom(32)).decode(),
        "NEURANT_PORT": str(port),
        "NEURANT_LOG_LEVEL": "error",
    }
    started = [
        subprocess.Popen([sys.executable, "-m", "neurant", name], env=environment)
        for name in ("serve", "worker")
    ]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(30)


class Asker:
    """A visitor with an open stream, from an address of its own."""

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
    """520 visitors of acme, and an address that sends what it can."""
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


async def until_ready(base: str) -> None:
    async with aiohttp.ClientSession() as http:
        while True:
            with suppress(aiohttp.ClientError):
                async with http.get(f"{base}/readyz") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.1)


async def measure_flood(base: str, acme: str, rival: str) -> tuple[list[float], list[float]]:
    """Seconds from rival's message to the answer: before the flood, and in it."""
    await until_ready(base)
    visitors = [Asker(base, rival, f"127.80.{n}.1") for n in range(4)]
    for one in visitors:
        await one.enter()
        await one.ask()
    quiet = [await visitors[n % 4].ask() for n in range(ASKED)]
    async with flooded(base, acme):
        under = [await visitors[n % 4].ask() for n in range(ASKED)]
    for one in visitors:
        await one.leave()
    return quiet, under


def main() -> int:
    before = busy()
    with empty_folder() as folder:
        server = start_supervised(folder)
        try:
            migrate(server.urls.admin)
            secret = read_secrets(folder)
            set_login_passwords(
                server.urls.admin, app=secret.app_password, jobs=secret.jobs_password
            )
            acme, rival = (make_company(server.urls.admin, one) for one in ("acme", "rival"))
            share = asyncio.run(measure_share(server.urls.app, acme))
            with processes(folder, server.urls.app, server.urls.jobs) as base:
                quiet, under = asyncio.run(measure_flood(base, acme, rival))
        finally:
            server.stop()
    good = report(
        "visitor_limits_share",
        "asking the visitors' limits, of asking them and storing a message",
        share,
        MOST_SHARE,
        f"medians of {MESSAGES} messages, one after another; {before}",
    )
    ratio = percentile(under, 0.5) / percentile(quiet, 0.5)
    good &= report(
        "visitor_flood",
        "rival's message to answer while acme is flooded, of the same before",
        ratio,
        MOST_RATIO,
        f"medians {percentile(under, 0.5) * 1000:.0f} and {percentile(quiet, 0.5) * 1000:.0f} ms,"
        f" worst {max(under) * 1000:.0f} and {max(quiet) * 1000:.0f} ms; {before}",
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
