"""Live updates between processes: ids travel by NOTIFY, rows are read again under the policies.

After a commit a process *announces* the conversation; announcements leave together, at most every
25 ms, from a connection of their own (a NOTIFY inside the writing transaction would serialise
commits). One listener per process wakes the streams. A lost notification loses nothing: a stream
reads its backlog after subscribing, again after a reconnection, and on a slow timer. The listener
asks the server every two seconds whether it is still heard: a connection that something on the way
has swallowed is replaced within five.
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
_IDS_PER_NOTIFY = 100  # 73 bytes each; a payload may have 8,000
_RECONNECT = 0.5
_HEARTBEAT = 2.0  # seconds without a word after which the listener asks whether it is heard
_HEARTBEAT_ANSWER = 3.0
_DEAF = 15.0  # seconds without a listener after which live updates count as interrupted
MOST_STREAMS = 12  # of one session; a browser opens six connections over HTTP/1.1
_MOST_REDRAWS = 4

log = get_logger(__name__)


class Subscription:
    """The changes that one stream waits for: all of its company's, or those of ``only`` some ids.

    With many streams of one company, waking all of them at every message would cost the process
    more than the messages do.
    """

    def __init__(self, only: frozenset[UUID] | None = None) -> None:
        self.only = only
        self._changed: set[UUID] = set()
        self._anything = False
        self._wake = asyncio.Event()

    def wake(self, conversation_id: UUID | None) -> None:
        """A conversation changed; None: anything may have."""
        if conversation_id is None:
            self._anything = True
        elif self.only is None or conversation_id in self.only:
            self._changed.add(conversation_id)
        else:
            return
        self._wake.set()

    async def wait(self, timeout: float) -> set[UUID]:  # noqa: ASYNC109 - part of the contract
        """The conversations that changed since the last call.

        Empty after ``timeout`` seconds or a reconnection: then read everything again.
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
    """The live streams of signed-in people in this process, by their session."""

    def __init__(self) -> None:
        self._open: Counter[UUID] = Counter()
        self._redraws: dict[UUID, int] = {}

    def has_room(self, session_id: UUID) -> bool:
        """Whether the session may open one more: its browser has that many tabs at most."""
        return self._open.get(session_id, 0) < MOST_STREAMS

    @contextmanager
    def opened(self, session_id: UUID) -> Iterator[None]:
        """Count a stream for as long as it lasts."""
        self._open[session_id] += 1
        try:
            yield
        finally:
            self._open[session_id] -= 1
            if self._open[session_id] <= 0:
                del self._open[session_id]
                self._redraws.pop(session_id, None)

    def told(self, session_id: UUID) -> None:
        """A stream told its page that something changed: the page may ask once for it."""
        self._redraws[session_id] = min(_MOST_REDRAWS, self._redraws.get(session_id, 0) + 1)

    def take_redraw(self, session_id: UUID) -> bool:
        """Use what was told, if something was."""
        left = self._redraws.get(session_id, 0)
        if left:
            self._redraws[session_id] = left - 1
        return left > 0


class Hub:
    """What this process announces and what its streams wait for."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pending: set[tuple[UUID, UUID]] = set()
        self._work_waits = False
        self._something = asyncio.Event()
        self._streams: dict[UUID, set[Subscription]] = defaultdict(set)
        self._workers: set[Subscription] = set()
        self._heard_at = monotonic()

    def is_deaf(self) -> bool:
        """Whether announcements of other processes have not arrived for a while."""
        return monotonic() - self._heard_at > _DEAF

    def announce(self, company_id: UUID, conversation_id: UUID) -> None:
        """Say, after the commit, that a conversation changed."""
        self._pending.add((company_id, conversation_id))
        self._something.set()

    def announce_work(self) -> None:
        """Say, after the commit, that a queue has something for the workers."""
        self._work_waits = True
        self._something.set()

    @contextmanager
    def subscribe(
        self, company_id: UUID, only: frozenset[UUID] | None = None
    ) -> Iterator[Subscription]:
        """The changes in a company's conversations, or in some of them, from now on."""
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
        """Wakes when a queue has something to do."""
        subscription = Subscription()
        self._workers.add(subscription)
        try:
            yield subscription
        finally:
            self._workers.discard(subscription)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Hub]:
        """Announce and listen for as long as the block lasts."""
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
        """Run a part for ever, over as many connections as it takes."""
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
            await asyncio.sleep(_TICK)  # what comes meanwhile leaves together
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
        # Whatever was said while nobody listened: everybody reads again.
        self._wake_workers()
        for streams in self._streams.values():
            for subscription in streams:
                subscription.wake(None)
        while True:
            # A swallowed connection looks like one on which nobody says anything: ask.
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
    """The (company, conversation) pairs of a payload. Any login may notify: nonsense is no news."""
    try:
        halves = (pair.partition(":") for pair in payload.split(","))
        return [(UUID(company), UUID(conversation)) for company, _, conversation in halves]
    except ValueError:
        log.warning("strange_notification", payload=payload[:100])
        return []
