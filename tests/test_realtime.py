"""What one process commits wakes the streams of another; nothing that is lost stays unseen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import psycopg
import pytest

from neurant.core.realtime import LIVE, Hub
from neurant.installation.embedded import Urls

pytest_plugins = ("tests.support.fixtures",)
pytestmark = pytest.mark.anyio

ACME, RIVAL = uuid4(), uuid4()


@pytest.fixture
async def hubs(own: Urls) -> AsyncIterator[tuple[Hub, Hub]]:
    """Two processes; both listen."""
    async with Hub(own.app).running() as one, Hub(own.jobs).running() as other:
        for hub in (one, other):
            first = uuid4()
            with hub.subscribe(first) as subscription:
                while first not in await subscription.wait(0.1):
                    one.announce(first, first)
        yield one, other


async def test_an_announcement_wakes_the_streams_of_its_company_in_every_process(
    hubs: tuple[Hub, Hub],
) -> None:
    here, there = hubs
    conversation, theirs = uuid4(), uuid4()
    with (
        here.subscribe(ACME) as near,
        there.subscribe(ACME) as far,
        there.subscribe(RIVAL) as rival,
    ):
        here.announce(ACME, conversation)
        assert await near.wait(5) == {conversation}
        assert await far.wait(5) == {conversation}
        # Announcements arrive in their order: the rival's stream hears its own one first.
        here.announce(RIVAL, theirs)
        assert await rival.wait(5) == {theirs}, "nothing else woke the rival's stream"


async def test_a_thousand_announcements_at_once_all_arrive(hubs: tuple[Hub, Hub]) -> None:
    here, there = hubs
    conversations = {uuid4() for _ in range(1000)}
    seen: set[object] = set()
    with there.subscribe(ACME) as far:
        for conversation in conversations:
            here.announce(ACME, conversation)
        async with asyncio.timeout(10):
            while seen != conversations:
                seen |= await far.wait(5)


async def test_work_wakes_the_workers_only(hubs: tuple[Hub, Hub]) -> None:
    here, there = hubs
    with there.subscribe_work() as worker, there.subscribe(ACME) as stream:
        here.announce_work()
        async with asyncio.timeout(5):
            await worker.wait(60)
        # Announcements arrive in their order. After a wake-up for work the stream would hear set().
        conversation = uuid4()
        here.announce(ACME, conversation)
        assert await stream.wait(5) == {conversation}


async def test_a_connection_that_is_cut_comes_back_and_everybody_reads_again(
    own: Urls, hubs: tuple[Hub, Hub]
) -> None:
    here, there = hubs
    with there.subscribe(ACME) as far, there.subscribe_work() as worker:
        with psycopg.connect(own.admin, autocommit=True) as db:
            db.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
        assert await far.wait(10) == set(), "read everything"
        async with asyncio.timeout(5):
            await worker.wait(60)
        conversation = uuid4()
        here.announce(ACME, conversation)
        async with asyncio.timeout(10):
            while conversation not in await far.wait(5):
                pass


async def test_after_a_reconnection_one_changed_conversation_does_not_hide_the_others() -> None:
    hub = Hub("never connected")
    with hub.subscribe(ACME) as subscription:
        subscription.wake(None)
        subscription.wake(uuid4())
        assert await subscription.wait(1) == set()
        conversation = uuid4()
        subscription.wake(conversation)
        assert await subscription.wait(1) == {conversation}


@pytest.mark.parametrize(
    "payload",
    ["", "nonsense", f"{ACME}", f"{ACME}:", ",,:"],
    ids=["empty", "nonsense", "company", "colon", "commas"],
)
async def test_a_notification_that_is_none_of_ours_does_not_stop_the_listening(
    own: Urls, hubs: tuple[Hub, Hub], payload: str
) -> None:
    here, there = hubs
    with psycopg.connect(own.app, autocommit=True) as anybody:
        anybody.execute("select pg_notify(%s, %s)", (LIVE, payload))
    conversation = uuid4()
    with there.subscribe(ACME) as far:
        here.announce(ACME, conversation)
        async with asyncio.timeout(5):
            while conversation not in await far.wait(5):
                pass


async def test_a_stream_that_ended_is_forgotten(hubs: tuple[Hub, Hub]) -> None:
    here, _ = hubs
    with here.subscribe(RIVAL):
        pass
    assert RIVAL not in here._streams
