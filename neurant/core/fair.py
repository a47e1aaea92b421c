"""Fair shares of what a process has little of: database connections, threads, calls to others.

Whoever asks for more than their share queues among themselves, in order; the next free slot goes to
the next sharer in turn. One gate lives in one process and one event loop, because the pool and the
threads that it guards do; companies are kept apart in each process by itself.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Generator, Hashable
from contextlib import asynccontextmanager
from typing import TypeVar
from weakref import WeakKeyDictionary

from neurant.core.clock import monotonic

Made = TypeVar("Made")
_CLEARLY_MORE = 1.25
_AGE_EVERY = 0.1  # seconds
_FORGOTTEN = 1.0  # less of what is measured is nothing


class QueueFullError(Exception):
    """As many of this sharer wait as may."""


class FairGate:
    """``slots`` in all, of which one sharer takes ``share`` at once."""

    def __init__(self, slots: int, share: int) -> None:
        self._free, self._share = slots, share
        self._taken: dict[Hashable, int] = {}
        self._queues: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    def taken(self, sharer: Hashable) -> int:
        """How many slots a sharer has at this moment."""
        return self._taken.get(sharer, 0)

    def has_room(self, sharer: Hashable) -> bool:
        """Whether a sharer would get a slot now."""
        return self._free > 0 and self.taken(sharer) < self._share

    @asynccontextmanager
    async def slot(
        self, sharer: Hashable, *, waiting: int, seconds: float | None = None
    ) -> AsyncIterator[None]:
        """Have a slot for the time of the block.

        Raises QueueFullError where ``waiting`` others of this sharer wait already, TimeoutError
        after ``seconds`` of waiting.
        """
        await self.acquire(sharer, waiting=waiting, seconds=seconds)
        try:
            yield
        finally:
            self.release(sharer)

    async def acquire(
        self, sharer: Hashable, *, waiting: int, seconds: float | None = None
    ) -> None:
        """Take a slot, which must be given back by ``release``. Raises as ``slot``."""
        if self.has_room(sharer):
            self._take(sharer)  # whoever waits has all of their share
            return
        queue = self._queues.get(sharer)
        if (len(queue) if queue else 0) >= waiting:
            raise QueueFullError
        if queue is None:
            queue = self._queues[sharer] = deque()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            async with asyncio.timeout(seconds):
                await turn
        except BaseException:
            if turn.done() and not turn.cancelled():  # it was given in the same moment
                self.release(sharer)
            else:
                self._leave(sharer, turn)
            raise

    def release(self, sharer: Hashable) -> None:
        """Give a slot back, to whoever is next."""
        self._free += 1
        left = self._taken[sharer] - 1
        if left:
            self._taken[sharer] = left
        else:
            del self._taken[sharer]
        while self._free > 0 and self._give_next():
            pass

    def _take(self, sharer: Hashable) -> None:
        self._free -= 1
        self._taken[sharer] = self.taken(sharer) + 1

    def _give_next(self) -> bool:
        for sharer in self._queues:
            if self.taken(sharer) < self._share:
                break
        else:
            return False
        queue = self._queues[sharer]
        turn = queue.popleft()
        if queue:
            self._queues.move_to_end(sharer)
        else:
            del self._queues[sharer]
        if not turn.done():  # else it was cancelled, and its task has not run since
            self._take(sharer)
            turn.set_result(None)
        return True

    def _leave(self, sharer: Hashable, turn: asyncio.Future[None]) -> None:
        queue = self._queues.get(sharer)
        if queue is not None and turn in queue:
            queue.remove(turn)
            if not queue:
                del self._queues[sharer]


class Usage:
    """How much of something each sharer used lately; what is older counts less and less.

    Amounts halve every ``half_life`` seconds.
    """

    def __init__(self, half_life: float = 5.0) -> None:
        self._half_life = half_life
        self._used: dict[Hashable, float] = {}
        self._at = monotonic()

    def add(self, sharer: Hashable, amount: float) -> None:
        """Note that a sharer used this much."""
        self._age()
        self._used[sharer] = self._used.get(sharer, 0.0) + amount

    def is_heavy(self, sharer: Hashable) -> bool:
        """Whether a sharer used clearly more than an equal part of what all used together.

        A sharer that is alone is not heavy.
        """
        self._age()
        mean = sum(self._used.values()) / len(self._used) if self._used else 0.0
        return self._used.get(sharer, 0.0) > _CLEARLY_MORE * mean

    def _age(self) -> None:
        now = monotonic()
        if now - self._at < _AGE_EVERY:
            return
        left = 0.5 ** ((now - self._at) / self._half_life)
        self._at = now
        aged = ((sharer, left * used) for sharer, used in self._used.items())
        self._used = {sharer: used for sharer, used in aged if used > _FORGOTTEN}


class _Turn:
    def __await__(self) -> Generator[None, None, None]:
        yield


async def let_others_run() -> None:
    """One turn of the event loop for everybody else, between two pieces of long work.

    No wait: whoever holds a connection may do it. The piece that follows is ready at once.
    """
    await _Turn()


def step_back(nice: int) -> None:
    """Give this thread a lower priority, where threads have one of their own (Linux)."""
    if nice and sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)


def each_loop(make: Callable[[], Made]) -> Callable[[], Made]:
    """What ``make`` makes once for each event loop: a gate must not be shared by two threads."""
    made: WeakKeyDictionary[asyncio.AbstractEventLoop, Made] = WeakKeyDictionary()

    def of_this_loop() -> Made:
        loop = asyncio.get_running_loop()
        found = made.get(loop)
        if found is None:
            found = made[loop] = make()
        return found

    return of_this_loop
