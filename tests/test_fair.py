"""Fair shares: nobody gets more than theirs, everybody is served in order, nothing is lost."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurant.core import fair
from neurant.core.fair import FairGate, QueueFullError, Usage, each_loop

pytestmark = pytest.mark.anyio
MAX_WAITING = 100


async def test_a_sharer_takes_no_more_than_its_share_and_others_do_not_wait() -> None:
    gate = FairGate(4, 2)
    for _ in range(2):
        await gate.acquire("acme", waiting=MAX_WAITING)
    third = asyncio.create_task(gate.acquire("acme", waiting=MAX_WAITING))
    async with asyncio.timeout(1):
        await gate.acquire("rival", waiting=MAX_WAITING)
    assert not third.done()
    gate.release("acme")
    await asyncio.wait_for(third, 1)


async def test_the_next_slot_goes_to_the_next_sharer_and_not_to_the_longest_queue() -> None:
    gate, order = FairGate(1, 1), []
    await gate.acquire("first", waiting=MAX_WAITING)

    async def serve(who: str) -> None:
        async with gate.slot(who, waiting=MAX_WAITING):
            order.append(who)
            await asyncio.sleep(0)

    waiting = [asyncio.create_task(serve(who)) for who in ["acme"] * 50 + ["rival"] * 2]
    await asyncio.sleep(0)
    gate.release("first")
    await asyncio.gather(*waiting)
    assert order[:4] == ["acme", "rival", "acme", "rival"]
    assert Counter(order) == {"acme": 50, "rival": 2}


async def test_a_queue_is_bounded_and_those_in_it_wait_for_so_long() -> None:
    gate = FairGate(1, 1)
    await gate.acquire("acme", waiting=MAX_WAITING)
    waiting = asyncio.create_task(gate.acquire("acme", waiting=MAX_WAITING, seconds=0.05))
    await asyncio.sleep(0)
    with pytest.raises(QueueFullError):
        await gate.acquire("acme", waiting=1)
    with pytest.raises(TimeoutError):
        await waiting
    gate.release("acme")
    async with asyncio.timeout(1), gate.slot("acme", waiting=MAX_WAITING):
        pass


@given(
    st.integers(1, 4),
    st.integers(1, 3),
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.booleans()), min_size=1, max_size=40
    ),
)
def test_whatever_is_cancelled_every_slot_comes_back(
    slots: int, share: int, jobs: list[tuple[str, int, bool]]
) -> None:
    async def run() -> None:
        gate, held = FairGate(slots, share), Counter[str]()

        async def work(who: str, turns: int) -> None:
            async with gate.slot(who, waiting=MAX_WAITING):
                held[who] += 1
                try:
                    assert held[who] <= share
                    assert held.total() <= slots
                    for _ in range(turns):
                        await asyncio.sleep(0)
                finally:
                    held[who] -= 1

        tasks = []
        for who, turns, cancelled in jobs:
            task = asyncio.create_task(work(who, turns))
            tasks.append(task)
            await asyncio.sleep(0)
            if cancelled:
                task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(one is None or isinstance(one, asyncio.CancelledError) for one in done)
        async with asyncio.timeout(1):
            for number in range(slots):
                await gate.acquire(f"new-{number}", waiting=MAX_WAITING)

    asyncio.run(run())


async def test_each_event_loop_has_its_own() -> None:
    made = each_loop(lambda: FairGate(1, 1))
    here = made()
    assert made() is here

    async def there() -> FairGate:
        return made()

    assert await asyncio.to_thread(lambda: asyncio.run(there())) is not here


def test_whoever_used_more_than_an_equal_part_is_heavy_and_one_alone_is_not() -> None:
    usage = Usage()
    assert not usage.is_heavy("acme")
    usage.add("rival", 1000)
    assert not usage.is_heavy("rival")
    usage.add("acme", 50)
    assert usage.is_heavy("rival")
    assert not usage.is_heavy("acme")
    usage.add("acme", 850)
    assert not usage.is_heavy("rival")


def test_what_was_used_long_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(fair, "monotonic", lambda: now)
    usage = Usage(half_life=5)
    usage.add("rival", 1000)
    usage.add("acme", 50)
    now += 30
    usage.add("acme", 50)
    assert not usage.is_heavy("rival")
    assert usage.is_heavy("acme")
    now += 600
    assert not usage.is_heavy("acme")
