"""Whoever floods a few places waits behind their own only."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neurant.channels.events import InboundMessage
from neurant.channels.ingest import fair_batch
from neurant.core.turns import Turns

pytestmark = pytest.mark.anyio


async def test_a_second_owner_waits_for_one_turn_behind_a_hundred_of_the_first() -> None:
    turns, order = Turns(1), []
    gate = asyncio.Event()

    async def work(owner: str) -> None:
        async with turns.of(owner):
            await gate.wait()
            order.append(owner)

    tasks = [asyncio.create_task(work("acme")) for _ in range(100)]
    await asyncio.sleep(0)
    tasks.append(asyncio.create_task(work("rival")))
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*tasks)
    assert order.index("rival") <= 2
    assert len(order) == 101


async def test_no_more_than_the_places_are_taken_and_who_leaves_while_waiting_costs_none() -> None:
    turns, inside, most = Turns(3), 0, 0

    async def work(number: int) -> None:
        nonlocal inside, most
        async with turns.of(number % 4):
            inside += 1
            most = max(most, inside)
            try:
                await asyncio.sleep(0)
            finally:
                inside -= 1

    tasks = [asyncio.create_task(work(number)) for number in range(60)]
    await asyncio.sleep(0)
    for task in tasks[1::3]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (inside, most) == (0, 3)
    async with asyncio.timeout(1), turns.of("a"), turns.of("b"), turns.of("c"):
        pass


@given(st.lists(st.sampled_from("abc"), max_size=80), st.integers(1, 20))
def test_a_batch_takes_each_chat_s_first_message_before_any_second(
    chats: list[str], most: int
) -> None:
    queue = [
        (InboundMessage(chat, "web", b"", "", None, str(n), "text", "x"), None)
        for n, chat in enumerate(chats)
    ]
    batch, rest = fair_batch(queue, most)
    assert len(batch) == min(most, len(queue))
    assert sorted(m.external_id for m, _ in batch + rest) == sorted(m.external_id for m, _ in queue)
    for chat in "abc":  # in order, and nobody's next before another's first
        order = [int(m.external_id) for m, _ in batch + rest if m.routing_id == chat]
        assert order == sorted(order)
    counts = {chat: sum(m.routing_id == chat for m, _ in batch) for chat in "abc"}
    waiting = {m.routing_id for m, _ in rest}
    assert all(counts[one] >= max(counts.values()) - 1 for one in waiting)
