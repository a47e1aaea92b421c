"""What the worker does by the clock: each piece at its own pace, none stopped by another."""

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
    """Work to be done every ``seconds``, by any number of workers at once without harm."""

    name: str
    seconds: float
    run: Callable[[], Awaitable[object]]
    patience: float = 30.0  # seconds that one statement of it may take


async def keep_running(pieces: Sequence[Periodic], stop: asyncio.Event) -> None:
    """Run every piece now and then again at its pace, until ``stop``. What fails is logged."""
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
