"""What it costs to count a request against the plan, and how near two processes come to its number.

    python bench/rates.py

Goals: 50 microseconds a request on average, with the share of asking the database in it; two
processes together within 10 % of the number.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid

import psycopg
from support import empty_folder

from neurant.auth.throttling import Rates
from neurant.core.db.pool import make_pool
from neurant.installation.embedded import start_supervised
from neurant.installation.install import read_secrets
from neurant.installation.migrate import migrate, set_login_passwords

NUMBER = 3000  # of the plan enterprise
MOST_MICROSECONDS = 50
MOST_OFF = 0.10


async def measure(app_url: str, admin_url: str) -> bool:
    async with (
        make_pool(app_url, size=1, pooled=False) as a,
        make_pool(app_url, size=1, pooled=False) as b,
    ):
        company = make_company(admin_url)
        rates = Rates(a)
        await rates.take(company, NUMBER)
        turns = NUMBER - 300
        began, cpu = time.perf_counter(), time.process_time()
        for _ in range(turns):
            await rates.take(company, NUMBER)
        wall = (time.perf_counter() - began) / turns * 1e6
        own = (time.process_time() - cpu) / turns * 1e6
        company = make_company(admin_url)
        began = time.perf_counter()
        given = sum(await asyncio.gather(*(count(Rates(pool), company) for pool in (a, b))))
        allowed = NUMBER + (time.perf_counter() - began) * NUMBER / 60
    off = given / allowed - 1
    print(f"one request: {wall:.1f} us, {own:.1f} us of CPU (goal {MOST_MICROSECONDS})")
    print(f"two processes: {given} given of {allowed:.0f} ({off:+.1%}; goal 10 %)")
    return wall <= MOST_MICROSECONDS and abs(off) <= MOST_OFF


async def count(rates: Rates, company: uuid.UUID) -> int:
    given = 0
    for _ in range(NUMBER):
        given += (await rates.take(company, NUMBER))[1] == 0
    return given


def make_company(admin_url: str) -> uuid.UUID:
    with psycopg.connect(admin_url) as db:
        return db.execute(
            "insert into companies (name, slug, email, subscription_plan)"
            " values ('Bench', %s, 'a@bench.example', 'enterprise') returning id",
            (f"bench-{uuid.uuid4().hex[:12]}",),
        ).fetchone()[0]


def main() -> int:
    with empty_folder() as folder:
        server = start_supervised(folder)
        try:
            migrate(server.urls.admin)
            secret = read_secrets(folder)
            set_login_passwords(
                server.urls.admin, app=secret.app_password, jobs=secret.jobs_password
            )
            good = asyncio.run(measure(server.urls.app, server.urls.admin))
        finally:
            server.stop()
    print("GREEN" if good else "RED")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
