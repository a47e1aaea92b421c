"""The platform's parts in this process, and as real child processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import uvicorn
from starlette.types import ASGIApp

from neurant.channels.ingest import Ingestor
from neurant.channels.webhooks import Webhooks
from neurant.core.db.pool import Pool, make_pool
from neurant.core.db.tenancy import tenant
from neurant.core.object_store import open_store
from neurant.core.realtime import Hub
from neurant.core.settings import Settings
from neurant.knowledge.service import store_document
from neurant.runtime import worker
from tests.companies import Company


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def eventually(
    condition: Callable[[], Awaitable[object]], seconds: float = 20, why: str = ""
) -> None:
    """Until the condition holds; fails by the clock, never by luck."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, why or "it did not happen in time"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def serving(app: ASGIApp, port: int, *, lifespan: str = "off") -> AsyncIterator[str]:
    """The application under a real server in this event loop; its base URL."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, lifespan=lifespan, log_config=None, access_log=False,
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    # _serve: the tests keep the process's signal handlers.
    task = asyncio.create_task(server._serve())
    while not server.started:
        assert not task.done(), task.exception()
        await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await task


@dataclass
class Web:
    """What a web process holds."""

    pool: Pool
    hub: Hub
    ingestor: Ingestor
    settings: Settings
    url: str


@asynccontextmanager
async def web_parts(settings: Settings, port: int | None = None) -> AsyncIterator[Web]:
    """Pool, hub and ingestor of a web process, with its webhooks on a real port."""
    url = settings.app_database_url.get_secret_value()
    pool = make_pool(url, size=settings.database_pool_size, pooled=False)
    async with pool, Hub(url).running() as hub, Ingestor(pool, hub).running() as ingestor:
        port = port or settings.port
        async with serving(Webhooks(pool, ingestor, settings), port) as base:
            yield Web(pool, hub, ingestor, settings, base)


@asynccontextmanager
async def working(settings: Settings) -> AsyncIterator[asyncio.Event]:
    """A worker in this process."""
    stop = asyncio.Event()
    task = asyncio.create_task(worker.work(settings, stop))
    try:
        yield stop
    finally:
        stop.set()
        await task


async def teach(web: Web, company: Company, name: str, content: str) -> UUID:
    """Give the company's bot a document; a worker must process it."""
    return await store_document(
        web.pool, open_store(web.settings), web.settings, company.staff("supervisor"),
        company.bot_id, name, content.encode(),
    )  # fmt: skip


async def taught(web: Web, company: Company, seconds: float = 30) -> None:
    """Until every document of the company is processed, and none failed."""

    async def done() -> bool:
        async with tenant(web.pool, company.staff("supervisor")) as connection:
            rows = await (
                await connection.execute(
                    "select processing_status::text, processing_error from documents"
                )
            ).fetchall()
        assert all(status != "failed" for status, _ in rows), rows
        return bool(rows) and all(status == "completed" for status, _ in rows)

    await eventually(done, seconds, "the documents were not processed")


async def rows(admin_url: str, query: str, params: Any = ()) -> list[tuple[Any, ...]]:
    """As the superuser, over all companies."""
    async with await psycopg.AsyncConnection.connect(admin_url, autocommit=True) as db:
        return await (await db.execute(query, params)).fetchall()


async def settled(admin_url: str, seconds: float = 20) -> None:
    """Until nobody is owed a reply and nothing waits to go out."""

    async def empty() -> bool:
        [[left]] = await rows(
            admin_url,
            "select (select count(*) from reply_requests)"
            " + (select count(*) from outbox where status in ('pending', 'sending'))",
        )
        return left == 0

    await eventually(empty, seconds, "the queues did not empty")


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """What a child process of the platform reads."""
    return {
        **os.environ,
        "NEURANT_DATA_DIR": str(settings.data_dir),
        "NEURANT_APP_DATABASE_URL": settings.app_database_url.get_secret_value(),
        "NEURANT_JOBS_DATABASE_URL": settings.jobs_database_url.get_secret_value(),
        "NEURANT_MASTER_KEY": settings.master_key.get_secret_value(),
        "NEURANT_TELEGRAM_API_URL": settings.telegram_api_url,
        "NEURANT_LOG_LEVEL": "warning",
        "OMP_NUM_THREADS": "1",
        **more,
    }


@dataclass
class WorkerProcess:
    """The worker as a real process, which a test may kill at any moment."""

    settings: Settings
    process: subprocess.Popen[bytes] | None = None
    killed: int = field(default=0)

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "neurant", "worker"], env=environment(self.settings)
        )

    def kill(self) -> None:
        """SIGKILL: it cannot say goodbye."""
        assert self.process
        assert self.process.poll() is None, "it was not alive to be killed"
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        self.killed += 1

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)


@contextmanager
def worker_process(settings: Settings) -> Iterator[WorkerProcess]:
    running = WorkerProcess(settings)
    running.start()
    try:
        yield running
    finally:
        running.stop()


@contextlib.contextmanager
def platform_up(
    data_dir: Path, port: int, log: Path, *more: str
) -> Iterator[subprocess.Popen[bytes]]:
    """``neurant up`` as a user runs it."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "NEURANT_DATA_DIR": str(data_dir)}
    command = [sys.executable, "-m", "neurant", "up", "--port", str(port), *more]
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
