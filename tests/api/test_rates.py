"""The number of requests a minute holds over several web processes and over a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import psycopg
import pytest

from neurant.auth.throttling import Rates
from neurant.core.db.pool import make_pool
from neurant.installation.embedded import Urls
from tests.companies import Company, make_company

pytestmark = pytest.mark.anyio
NUMBER = 120  # of the plan free


@pytest.fixture
def company(urls: Urls) -> Company:
    return on_free_plan(urls, "acme")


def on_free_plan(urls: Urls, name: str) -> Company:
    made = make_company(urls.admin, name)
    with psycopg.connect(urls.admin) as db:
        db.execute("update companies set subscription_plan = 'free' where id = %s", (made.id,))
    return made


@pytest.fixture
async def processes(urls: Urls) -> AsyncIterator[list[Rates]]:
    """What two web processes have of it."""
    async with AsyncExitStack() as stack:
        pools = [
            await stack.enter_async_context(make_pool(urls.app, size=1, pooled=False))
            for _ in range(2)
        ]
        yield [Rates(pool) for pool in pools]


async def burst(rates: Rates, company: Company, count: int) -> int:
    """How many of ``count`` requests at once are let in."""
    answers = await asyncio.gather(*(rates.take(company.id, NUMBER) for _ in range(count)))
    return sum(wait == 0 for _, wait in answers)


async def test_two_processes_together_give_the_number_and_no_more(
    processes: list[Rates], company: Company, urls: Urls
) -> None:
    started = asyncio.get_running_loop().time()
    given = sum(await asyncio.gather(*(burst(one, company, 3 * NUMBER) for one in processes)))
    came_back = (asyncio.get_running_loop().time() - started) * NUMBER / 60 + 1
    assert NUMBER * 0.9 <= given <= NUMBER + came_back
    rival = on_free_plan(urls, "rival")
    assert await burst(processes[0], rival, 10) == 10


async def test_a_restart_does_not_fill_the_bucket(processes: list[Rates], company: Company) -> None:
    before, after = processes
    assert await burst(before, company, NUMBER) >= NUMBER * 0.9
    assert await burst(after, company, NUMBER) <= NUMBER * 0.1


async def test_who_has_none_left_is_shown_how_long_and_asks_nobody_meanwhile(
    processes: list[Rates], company: Company, urls: Urls
) -> None:
    rates = processes[0]
    await burst(rates, company, NUMBER + 10)
    left, wait = await rates.take(company.id, NUMBER)
    assert left == 0
    assert 0 < wait <= 60 / NUMBER
    with psycopg.connect(urls.admin) as db:  # whoever asked now would wait for us
        db.execute("select from request_allowances where company_id = %s for update", (company.id,))
        if wait > 0.1:
            async with asyncio.timeout(0.1):
                assert (await rates.take(company.id, NUMBER))[1] > 0


async def test_it_comes_back_evenly(processes: list[Rates], company: Company, urls: Urls) -> None:
    await burst(processes[0], company, NUMBER + 10)
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "update request_allowances set refilled_at = refilled_at - interval '30 seconds'"
            " where company_id = %s",
            (company.id,),
        )
    assert NUMBER * 0.5 - 1 <= await burst(processes[1], company, NUMBER) <= NUMBER * 0.5 + 4


async def test_most_requests_ask_the_process_only(
    processes: list[Rates], company: Company, urls: Urls
) -> None:
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "update companies set subscription_plan = 'enterprise' where id = %s", (company.id,)
        )
    asked = 0
    plain = processes[0]._ask

    async def counted(*args: Any, **named: Any) -> None:
        nonlocal asked
        asked += 1
        await plain(*args, **named)

    processes[0]._ask = counted
    for _ in range(1000):
        assert (await processes[0].take(company.id, 3000))[1] == 0
    assert asked == 10
