"""Live updates between processes: NOTIFY sends ids, and rows are read again under the policies.

After a commit a process *announces* the conversation. Announcements are batched, at most every 25
ms, on a connection of their own (a NOTIFY inside the writing transaction would serialize commits).
One listener per process wakes the streams. A lost notification loses no data: a stream reads its
backlog after subscribing, after a reconnection, and on a slow timer. The listener checks its
connection every two seconds, so that a connection that silently fails is replaced within five.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from uuid import UUID

from psycopg import AsyncConnection, Notify

from neurant.core.clock import monotonic
from neurant.core.db.connection import connect, patience
from neurant.core.db.pool import DatabaseDown
from neurant.core.logs import get_logger

LIVE, WORK = "neurant_live", "neurant_work"
_TICK = 0.025
_IDS_PER_NOTIFY = 100  # of 73 bytes each; a payload has at most 8,000 bytes
_RECONNECT = 0.5
_HEARTBEAT = 2.0  # seconds without a notification after which the connection is checked
_HEARTBEAT_ANSWER = 3.0
_DEAF = 15.0  # seconds without a listener after which live updates count as interrupted
MAX_STREAMS = 12  # per session; a browser opens six connections over HTTP/1.1
_MAX_REDRAWS = 4

log = get_logger(__name__)


class Subscription:
    """The changes that one stream waits for: all of its company's, or those of the ids ``only``.

    If a company has many streams, waking all of them for every message would cost more than the
    messages do.
    """

    def __init__(self, only: frozenset[UUID] | None = None) -> None:
        self.only = only
        self._changed: set[UUID] = set()
        self._anything = False
        self._wake = asyncio.Event()

    def wake(self, conversation_id: UUID | None) -> None:
        """Report a changed conversation; None: anything may have changed."""
        if conversation_id is None:
            self._anything = True
        elif self.only is None or conversation_id in self.only:
            self._changed.add(conversation_id)
        else:
            return
        self._wake.set()

    async def wait(self, timeout: float) -> set[UUID]:  # noqa: ASYNC109 - part of the contract
        """Return the conversations that changed since the last call.

        The result is empty after ``timeout`` seconds or a reconnection: the caller then reads
        everything again.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._wake.wait()
        except TimeoutError:
            return set()
        self._wake.clear()
        changed, self._changed = self._changed, set()
        anything, self._anything = self._anything, False
        return set() if anything else changed


class StaffStreams:
    """The live streams of signed-in people in this process, by session."""

    def __init__(self) -> None:
        self._open: Counter[UUID] = Counter()
        self._redraws: dict[UUID, int] = {}

    def has_room(self, session_id: UUID) -> bool:
        """Return whether the session may open one more stream, about one per browser tab."""
        return self._open.get(session_id, 0) < MAX_STREAMS

    @contextmanager
    def opened(self, session_id: UUID) -> Iterator[None]:
        """Count a stream while the block runs."""
        self._open[session_id] += 1
        try:
            yield
        finally:
            self._open[session_id] -= 1
            if self._open[session_id] <= 0:
                del self._open[session_id]
                self._redraws.pop(session_id, None)

    def grant_redraw(self, session_id: UUID) -> None:
        """Record that a stream announced a change, so that its page may redraw once."""
        self._redraws[session_id] = min(_MAX_REDRAWS, self._redraws.get(session_id, 0) + 1)

    def take_redraw(self, session_id: UUID) -> bool:
        """Use up one recorded announcement; return whether there was one."""
        left = self._redraws.get(session_id, 0)
        if left:
            self._redraws[session_id] = left - 1
        return left > 0


class Hub:
    """The announcements of this process and the subscriptions of its streams."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pending: set[tuple[UUID, UUID]] = set()
        self._work_waits = False
        self._something = asyncio.Event()
        self._streams: dict[UUID, set[Subscription]] = defaultdict(set)
        self._workers: set[Subscription] = set()
        self._heard_at = monotonic()

    def is_deaf(self) -> bool:
        """Return whether announcements of other processes have not arrived for a while."""
        return monotonic() - self._heard_at > _DEAF

    def announce(self, company_id: UUID, conversation_id: UUID) -> None:
        """Announce, after the commit, that a conversation changed."""
        self._pending.add((company_id, conversation_id))
        self._something.set()

    def announce_work(self) -> None:
        """Announce, after the commit, that a queue has work for the workers."""
        self._work_waits = True
        self._something.set()

    @contextmanager
    def subscribe(
        self, company_id: UUID, only: frozenset[UUID] | None = None
    ) -> Iterator[Subscription]:
        """Subscribe to a company's conversations, or some of them, while the block runs."""
        subscription = Subscription(only)
        self._streams[company_id].add(subscription)
        try:
            yield subscription
        finally:
            self._streams[company_id].discard(subscription)
            if not self._streams[company_id]:
                del self._streams[company_id]

    @contextmanager
    def subscribe_work(self) -> Iterator[Subscription]:
        """Subscribe to the announcements of work while the block runs."""
        subscription = Subscription()
        self._workers.add(subscription)
        try:
            yield subscription
        finally:
            self._workers.discard(subscription)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Hub]:
        """Announce and listen while the block runs."""
        tasks = [
            asyncio.create_task(self._keep(self._send)),
            asyncio.create_task(self._keep(self._listen)),
        ]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _wake_workers(self) -> None:
        for subscription in self._workers:
            subscription.wake(None)

    async def _keep(self, part: Callable[[AsyncConnection], Awaitable[None]]) -> None:
        """Run a task forever, with a new connection after each failure."""
        interrupted = False
        while True:
            try:
                async with await connect(self._url, autocommit=True) as connection:
                    interrupted = False
                    with patience(_HEARTBEAT_ANSWER):
                        await part(connection)
            except DatabaseDown as error:
                if not interrupted:
                    log.warning("live_updates_interrupted", error=str(error))
                interrupted = True
                await asyncio.sleep(_RECONNECT)

    async def _send(self, connection: AsyncConnection) -> None:
        while True:
            await self._something.wait()
            await asyncio.sleep(_TICK)  # announcements of this time are sent together
            self._something.clear()
            pending, self._pending = sorted(self._pending), set()
            work, self._work_waits = self._work_waits, False
            try:
                if work:
                    await connection.execute("select pg_notify(%s, '')", (WORK,))
                for start in range(0, len(pending), _IDS_PER_NOTIFY):
                    part = pending[start : start + _IDS_PER_NOTIFY]
                    payload = ",".join(
                        f"{company}:{conversation}" for company, conversation in part
                    )
                    await connection.execute("select pg_notify(%s, %s)", (LIVE, payload))
            except DatabaseDown:
                self._pending.update(pending)
                self._work_waits |= work
                self._something.set()
                raise

    async def _listen(self, connection: AsyncConnection) -> None:
        await connection.execute(f"listen {LIVE}")
        await connection.execute(f"listen {WORK}")
        # Announcements may have been missed, so every stream and worker reads again.
        self._wake_workers()
        for streams in self._streams.values():
            for subscription in streams:
                subscription.wake(None)
        while True:
            # A dead connection looks like one without notifications, so it is checked.
            self._heard_at = monotonic()
            async for notify in connection.notifies(timeout=_HEARTBEAT):
                self._pass_on(notify)
            await connection.execute("select 1")

    def _pass_on(self, notify: Notify) -> None:
        if notify.channel == WORK:
            self._wake_workers()
            return
        for company, conversation in _pairs(notify.payload):
            for subscription in self._streams.get(company, ()):
                subscription.wake(conversation)


def _pairs(payload: str) -> list[tuple[UUID, UUID]]:
    """Return the (company, conversation) pairs of a payload.

    Any login may send a notification, so a malformed payload is ignored.
    """
    try:
        halves = (pair.partition(":") for pair in payload.split(","))
        return [(UUID(company), UUID(conversation)) for company, _, conversation in halves]
    except ValueError:
        log.warning("strange_notification", payload=payload[:100])
        return []
