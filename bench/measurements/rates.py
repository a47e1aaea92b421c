"""The cost of counting a request for the rate limit, and the accuracy of two processes.

Counting must take at most 50 microseconds per request on average, including the share of the
queries to the database. Two processes together must allow the plan's number within 10 %.
"""

from __future__ import annotations

import asyncio
import time
from uuid import UUID

import psycopg

from bench.companies import add_company
from bench.database import Database, migrated
from bench.figures import Figure, Figures
from bench.product import Rates, make_pool
from bench.sizes import sized
from bench.support import busy

NUMBER = 3000  # requests per minute in the plan enterprise
TURNS = sized(NUMBER - 300, tiny=300)
ROUND_TRIPS = sized(500, tiny=5)
COST_GOAL = 50  # microseconds
ACCURACY_GOAL = 1.10


def new_company(admin_url: str) -> UUID:
    with psycopg.connect(admin_url) as db:
        return add_company(db, "acme").id


async def counting(database: Database) -> tuple[float, float]:
    """Return the microseconds of counting one request, and the CPU microseconds of this process."""
    company = new_company(database.admin)
    async with make_pool(database.app, size=1, pooled=False) as pool:
        rates = Rates(pool)
        await rates.take(company, NUMBER)
        began, cpu = time.perf_counter(), time.process_time()
        for _ in range(TURNS):
            await rates.take(company, NUMBER)
        wall, own = time.perf_counter() - began, time.process_time() - cpu
    return wall / TURNS * 1e6, own / TURNS * 1e6


async def round_trip(database: Database) -> float:
    """Return the microseconds of one round trip to the database."""
    async with (
        make_pool(database.app, size=1, pooled=False) as pool,
        pool.connection() as connection,
    ):
        began = time.perf_counter()
        for _ in range(ROUND_TRIPS):
            await connection.execute("select 1")
        return (time.perf_counter() - began) / ROUND_TRIPS * 1e6


async def given_by_two(database: Database) -> tuple[int, float]:
    """Return the requests that two processes allow together, and the plan's number."""
    company = new_company(database.admin)

    async def count(rates: Rates) -> int:
        waits = [(await rates.take(company, NUMBER))[1] for _ in range(NUMBER)]
        return waits.count(0)

    async with (
        make_pool(database.app, size=1, pooled=False) as a,
        make_pool(database.app, size=1, pooled=False) as b,
    ):
        began = time.perf_counter()
        given = sum(await asyncio.gather(count(Rates(a)), count(Rates(b))))
        return given, NUMBER + (time.perf_counter() - began) * NUMBER / 60


async def everything(database: Database) -> tuple[float, float, float, int, float]:
    return (
        *await counting(database),
        await round_trip(database),
        *await given_by_two(database),
    )


def measure() -> Figures:
    before = busy()
    with migrated({}) as database:
        wall, own, trip, given, allowed = asyncio.run(everything(database))
    yield Figure(
        id="rates",
        title="counting one request against the plan's number",
        measured=wall,
        unit="µs",
        baseline="one round trip to the database",
        baseline_measured=trip,
        ratio=wall / trip,
        goal=COST_GOAL,
        goal_on="measured",
        details=f"mean of {TURNS} requests, {own:.1f} µs of CPU in the web process; {before}",
    )
    yield Figure(
        id="rates_accuracy",
        title="requests that two web processes let pass in a burst",
        measured=given,
        unit="requests",
        baseline="the number that the plan allows",
        baseline_measured=allowed,
        ratio=max(given / allowed, allowed / given),
        goal=ACCURACY_GOAL,
        details=f"the ratio is that of the larger to the smaller number; given : allowed"
        f" {given / allowed:.3f}",
    )
