"""The loop of a worker on a queue: claim due items, process them, wait for more."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

from psycopg_pool import PoolTimeout

from neurant.core.clock import utc_now
from neurant.core.db.pool import DatabaseDown
from neurant.core.logs import get_logger
from neurant.core.realtime import Hub, Subscription

_MAX_WAIT_SECONDS = 2.0  # seconds, the maximum delay by a lost notification
_AFTER_FAILURE = 0.5

Item = TypeVar("Item")
log = get_logger(__name__)


async def run_queue(
    name: str,
    hub: Hub,
    claim: Callable[[int], Awaitable[list[Item]]],
    work: Callable[[Item], Awaitable[object]],
    next_due: Callable[[], Awaitable[datetime | None]],
    concurrency: int,
    stop: asyncio.Event,
) -> None:
    """Process up to ``concurrency`` items at a time until ``stop``, then finish the running
    ones."""
    running: set[asyncio.Task[object]] = set()
    with hub.subscribe_work() as woken:
        while not stop.is_set():
            try:
                free = concurrency - len(running)
                items = await claim(free) if free else []
                for item in items:
                    task = asyncio.create_task(_logged(name, work, item))
                    running.add(task)
                    task.add_done_callback(running.discard)
                if not items:
                    await _wait(woken, await next_due() if free else None, running, stop)
            except (*DatabaseDown, PoolTimeout) as error:
                log.warning("queue_without_database", queue=name, error=str(error))
                await asyncio.sleep(_AFTER_FAILURE)
    if running:
        await asyncio.wait(running)


async def _logged(name: str, work: Callable[[Item], Awaitable[object]], item: Item) -> None:
    try:
        await work(item)
    except Exception:
        log.exception("queue_item_failed", queue=name)


async def _wait(
    woken: Subscription,
    due: datetime | None,
    running: set[asyncio.Task[object]],
    stop: asyncio.Event,
) -> None:
    """Wait until an item is announced, due or done, at most ``_MAX_WAIT_SECONDS`` seconds."""
    seconds = _MAX_WAIT_SECONDS
    if due is not None:
        seconds = min(max((due - utc_now()).total_seconds(), 0.005), _MAX_WAIT_SECONDS)
    waits = [asyncio.create_task(woken.wait(seconds)), asyncio.create_task(stop.wait())]
    try:
        await asyncio.wait([*waits, *running], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
