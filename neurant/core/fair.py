"""Fair shares of scarce resources: database connections, threads, calls to other systems.

A sharer with more requests than its share queues them in order, and the next free slot goes to the
next waiting sharer in turn. A gate belongs to one process and one event loop, like the pool or the
threads that it protects; each process shares them out independently.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from typing import TypeVar
from weakref import WeakKeyDictionary

Made = TypeVar("Made")


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
