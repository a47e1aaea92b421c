"""The periodic jobs of the worker: each at its own interval, independent of the others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from neurant.core.db.connection import patience
from neurant.core.logs import get_logger

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Periodic:
    """A job that runs every ``seconds``, safe to run in any number of workers at once."""

    name: str
    seconds: float
    run: Callable[[], Awaitable[object]]
    patience: float = 30.0  # the time limit of one statement, in seconds


async def keep_running(pieces: Sequence[Periodic], stop: asyncio.Event) -> None:
    """Run every job now and then at its interval, until ``stop``. Failures are logged."""
    async with asyncio.TaskGroup() as group:
        for piece in pieces:
            group.create_task(_repeat(piece, stop))


async def _repeat(piece: Periodic, stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            with patience(piece.patience):
                await piece.run()
        except Exception as error:
            log.warning(
                "periodic_failed", piece=piece.name, error=f"{type(error).__name__}: {error}"
            )
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), piece.seconds)
