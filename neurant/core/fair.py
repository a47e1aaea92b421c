"""Fair shares of scarce resources: database connections, threads, calls to other systems.

A sharer with more requests than its share queues them in order, and the next free slot goes to the
next waiting sharer in turn. A gate belongs to one process and one event loop, like the pool or the
threads that it protects; each process shares them out independently.
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
    """The maximum number of this sharer's requests are waiting already."""


class FairGate:
    """``slots`` in total, of which one sharer holds at most ``share`` at a time."""

    def __init__(self, slots: int, share: int) -> None:
        self._free, self._share = slots, share
        self._taken: dict[Hashable, int] = {}
        self._queues: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    def taken(self, sharer: Hashable) -> int:
        """Return how many slots a sharer holds at this moment."""
        return self._taken.get(sharer, 0)

    def has_room(self, sharer: Hashable) -> bool:
        """Return whether a sharer would get a slot now."""
        return self._free > 0 and self.taken(sharer) < self._share

    @asynccontextmanager
    async def slot(
        self, sharer: Hashable, *, waiting: int, seconds: float | None = None
    ) -> AsyncIterator[None]:
        """Hold a slot while the block runs.

        Raises QueueFullError if ``waiting`` requests of this sharer wait already, TimeoutError
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
        """Take a slot, which must be given back with ``release``. Raises as ``slot``."""
        if self.has_room(sharer):
            self._take(sharer)  # no other sharer can use it: those that wait hold their full share
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
            if turn.done() and not turn.cancelled():  # the slot was assigned at the same time
                self.release(sharer)
            else:
                self._leave(sharer, turn)
            raise

    def release(self, sharer: Hashable) -> None:
        """Give a slot back; it goes to the next waiting sharer."""
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
        if not turn.done():  # a cancelled request's task has not run yet
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
    """The recent use of a resource by each sharer; older use counts less and less.

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
        """Return whether a sharer used clearly more than an equal part of the use of all.

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
    """Return a function that calls ``make`` once per event loop, as gates are not thread-safe."""
    made: WeakKeyDictionary[asyncio.AbstractEventLoop, Made] = WeakKeyDictionary()

    def of_this_loop() -> Made:
        loop = asyncio.get_running_loop()
        found = made.get(loop)
        if found is None:
            found = made[loop] = make()
        return found

    return of_this_loop
