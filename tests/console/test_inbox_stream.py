"""The stream of the inbox ends with its reader's session, however much there is to tell."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from neurant.console.pages import inbox as inbox_routes
from neurant.core.realtime import StaffStreams


class Clock:
    """Time that passes only where something waits."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Busy:
    """A company in which something happens every ``every`` seconds."""

    def __init__(self, clock: Clock, every: float) -> None:
        self._clock, self._every = clock, every

    @contextmanager
    def subscribe(self, _company: object) -> Iterator[Busy]:
        yield self

    async def wait(self, timeout: float) -> set[Any]:  # noqa: ASYNC109 - as Subscription
        passed = min(self._every, timeout)
        self._clock.now += passed
        return {uuid4()} if self._every <= timeout else set()


@pytest.mark.parametrize("every", [0.3, 1.0, 4.0, 19.0, 10_000.0])
def test_who_is_deactivated_is_sent_nothing_a_few_seconds_later(
    monkeypatch: pytest.MonkeyPatch, every: float
) -> None:
    clock, asked = Clock(), []
    deactivated = clock.now + 60

    async def session_of(_request: object) -> object | None:
        asked.append(clock.now)
        return None if clock.now >= deactivated else object()

    async def no_sleep(_seconds: float) -> None:
        return None

    monkeypatch.setattr(inbox_routes, "monotonic", clock.monotonic)
    monkeypatch.setattr(inbox_routes, "session_of", session_of)
    monkeypatch.setattr(asyncio, "sleep", no_sleep)
    state = SimpleNamespace(services=SimpleNamespace(hub=Busy(clock, every)))
    request: Any = SimpleNamespace(app=SimpleNamespace(state=state))
    staff: Any = SimpleNamespace(company_id=uuid4(), session_id=uuid4())
    streams = StaffStreams()

    async def told() -> list[float]:
        return [clock.now async for _ in inbox_routes._news(request, staff, streams)]

    moments = asyncio.run(told())
    assert max(moments) < deactivated + 3
    assert clock.now <= deactivated + 20
    gaps = [b - a for a, b in zip([1000.0, *asked], asked, strict=False)]
    assert max(gaps) <= 20
    assert min(gaps) >= 3  # and no query for each of a hundred events
