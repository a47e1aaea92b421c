"""Behind a transaction pooler, 50 clients share 5 connections, and whatever goes wrong in between,
nobody meets another company's rows: nothing of a caller stays on the connection.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import psycopg
import pytest

from neurant.core.db import tenancy
from neurant.core.db.pool import Connection, Pool, make_pool
from neurant.core.db.tenancy import Principal, Visitor, Worker, tenant
from neurant.installation.embedded import RunningServer, Urls
from neurant.installation.migrate import migrate
from tests.companies import ROLES, Company, make_company, open_visitor
from tests.support.pgbouncer import PROGRAM, pgbouncer

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(PROGRAM is None, reason="no pgbouncer here (Debian: apt install pgbouncer)"),
]

APP_CLIENTS, JOBS_CLIENTS = 44, 6
APP_BACKENDS, JOBS_BACKENDS = 4, 1

ROWS = """
select company_id from conversations union all select company_id from messages
union all select company_id from %s
"""
STAFF_ROWS = ROWS % "documents union all select id from companies"
VISITOR_ROWS = ROWS % "reply_requests"
WORKER_ROWS = ROWS % "channel_accounts union all select id from companies"
WRITE = (
    "insert into documents (company_id, filename, original_filename, file_type, file_size_bytes,"
    " file_url, content_digest, uploaded_by) values (%s, %s, 'x', 'txt', 1, 'x',"
    " sha256(%s::text::bytea), private.user_id())"
)
BARE = "select current_setting('role'), coalesce(current_setting('request.jwt.claims', true), '')"


@dataclass(frozen=True)
class Caller:
    principal: Principal
    company: Company
    rows: str
    writes: bool


@dataclass
class Tally:
    """What happened; ``wrong`` holds every row of a company that was not the caller's."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[object] = field(default_factory=list)


class Abandoned(Exception):
    """The code between begin and commit fails."""


def callers(admin: str, companies: list[Company]) -> tuple[list[Caller], list[Caller]]:
    """Those of the web login and those of the worker's."""
    web: list[Caller] = []
    for company in companies:
        for role in ROLES:
            web.append(Caller(company.staff(role), company, STAFF_ROWS, role != "operador"))
        token, digest = open_visitor(admin, company)
        with psycopg.connect(admin) as db:
            db.execute(
                "select private.ingest(%s, '{web}', %s, '{null}', '{null}', '{1}', '{text}',"
                " %s, '{null}')",
                ([company.web], [digest], [f"secreto de {company.name} {token}"]),
            )
        web.append(Caller(Visitor(digest), company, VISITOR_ROWS, False))
    jobs = [Caller(Worker(company.id), company, WORKER_ROWS, False) for company in companies]
    return web, jobs


async def read(db: Connection, caller: Caller, tally: Tally) -> None:
    cursor = await db.execute(caller.rows)
    seen = {row[0] for row in await cursor.fetchall()}
    if seen != {caller.company.id}:  # nothing at all would be wrong too
        tally.wrong.append((caller.principal, seen))


async def write(db: Connection, caller: Caller) -> int:
    """The number of rows that the caller wrote."""
    if not caller.writes:
        return 0
    return (await db.execute(WRITE, (caller.company.id, caller.company.slug, uuid4()))).rowcount


async def cancel_soon(db: Connection) -> None:
    await asyncio.sleep(0.01)
    await db.cancel_safe(timeout=10)


async def one_transaction(
    pool: Pool, caller: Caller, other: UUID, dice: random.Random, tally: Tally
) -> None:
    """Reads and often writes as the caller; one of ten ends in one of the ways things go wrong."""
    kind = dice.choices(
        ("well", "error", "foreign", "abandoned", "timeout", "cancel", "task", "bare"),
        (900, 20, 20, 20, 10, 10, 10, 10),
    )[0]
    tally.counts[kind] += 1
    if kind == "bare":
        async with pool.connection() as db:
            row = await (await db.execute(BARE)).fetchone()
            if row != ("none", ""):
                tally.wrong.append(row)
        return
    async with tenant(pool, caller.principal) as db:
        await read(db, caller, tally)
        written = await write(db, caller) if dice.random() < 0.3 else 0
        match kind:
            case "error":
                await db.execute("select 1 / 0")
            case "foreign":
                await db.execute(WRITE, (other, caller.company.slug, uuid4()))
            case "abandoned":
                raise Abandoned
            case "timeout":
                await db.execute("set local statement_timeout = '5ms'")
                await db.execute("select pg_sleep(10)")
            case "cancel":
                canceller = asyncio.create_task(cancel_soon(db))
                try:
                    # A cancel that arrives before the statement does nothing; then the statement
                    # ends by itself, before the time limit of the connection.
                    await db.execute("select pg_sleep(4)")
                finally:
                    await canceller
            case "task":
                async with asyncio.timeout(0.01):
                    await db.execute("select pg_sleep(10)")
    tally.counts["committed"] += 1
    tally.counts["written"] += written


EXPECTED = (
    psycopg.errors.DivisionByZero,
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.QueryCanceled,
    Abandoned,
    TimeoutError,
)


async def client(
    pool: Pool, who: list[Caller], dice: random.Random, tickets: Callable[[], bool], tally: Tally
) -> None:
    while tickets():
        caller = dice.choice(who)
        other = dice.choice([one for one in who if one.company != caller.company]).company.id
        try:
            await one_transaction(pool, caller, other, dice, tally)
        except EXPECTED as error:
            tally.counts[type(error).__name__] += 1


@asynccontextmanager
async def pools(app: str, jobs: str) -> AsyncIterator[tuple[Pool, Pool]]:
    async with (
        make_pool(app, size=APP_CLIENTS, pooled=True) as web,
        make_pool(jobs, size=JOBS_CLIENTS, pooled=True) as worker,
    ):
        # Nobody here may wait for less than the pooler lets him.
        web.timeout = worker.timeout = 60
        yield web, worker


async def storm(
    server: RunningServer, admin: str, folder: Path, companies: list[Company], transactions: int
) -> tuple[Tally, int]:
    """So many transactions, mixed; and how many server connections there mostly were."""
    database = psycopg.conninfo.conninfo_to_dict(admin)["dbname"]
    web, jobs = callers(admin, companies)
    tally, left = Tally(), iter(range(transactions))
    backends: Counter[int] = Counter()
    tickets = partial(next, (True for _ in left), False)

    async def count_backends() -> None:
        query = (
            "select count(*) from pg_stat_activity where datname = %s and usename like 'neurant_%%'"
        )
        async with await psycopg.AsyncConnection.connect(admin, autocommit=True) as db:
            while True:
                backends[(await (await db.execute(query, (database,))).fetchone())[0]] += 1
                await asyncio.sleep(0.05)

    with pgbouncer(server, folder, str(database), app=APP_BACKENDS, jobs=JOBS_BACKENDS) as urls:
        async with pools(urls.app, urls.jobs) as (web_pool, jobs_pool):
            watcher = asyncio.create_task(count_backends())
            async with asyncio.TaskGroup() as group:
                for number in range(APP_CLIENTS + JOBS_CLIENTS):
                    mine = number < APP_CLIENTS
                    pool, who = (web_pool, web) if mine else (jobs_pool, jobs)
                    group.create_task(client(pool, who, random.Random(number), tickets, tally))
            watcher.cancel()
    # Not the most: what PgBouncer gave up after a cancel ends a moment later than it is replaced.
    return tally, backends.most_common(1)[0][0]


@pytest.mark.parametrize(
    "transactions", [5_000, pytest.param(100_000, marks=pytest.mark.soak)], ids=["short", "full"]
)
async def test_50_clients_on_5_connections_meet_no_row_of_another_company(
    server: RunningServer,
    urls: Urls,
    fresh_database: Callable[[], str],
    folder: Path,
    transactions: int,
) -> None:
    admin = fresh_database()
    migrate(admin)
    companies = [make_company(admin, name) for name in ("acme", "rival", "third")]
    tally, backends = await storm(server, admin, folder, companies, transactions)
    with psycopg.connect(admin) as db:
        written, strayed = db.execute(
            "select count(*), count(*) filter (where d.filename <> c.slug) from documents d"
            " join companies c on c.id = d.company_id"
        ).fetchone()
    print(
        f"\n{transactions} transactions on {backends} connections: {dict(tally.counts)};"
        f" {written} rows written, rows with a wrong company: {len(tally.wrong) + strayed}"
    )
    assert not tally.wrong
    assert strayed == 0
    assert backends == APP_BACKENDS + JOBS_BACKENDS
    asked = sum(tally.counts[kind] for kind in ("well", "error", "foreign", "abandoned", "bare"))
    asked += sum(tally.counts[kind] for kind in ("timeout", "cancel", "task"))
    assert asked == transactions
    # Each way of going wrong did happen, and ended as it should.
    assert tally.counts["DivisionByZero"] == tally.counts["error"] > 0
    assert tally.counts["InsufficientPrivilege"] == tally.counts["foreign"] > 0
    assert tally.counts["Abandoned"] == tally.counts["abandoned"] > 0
    assert tally.counts["TimeoutError"] == tally.counts["task"] > 0
    assert tally.counts["QueryCanceled"] > tally.counts["timeout"] > 0  # a cancel may come too late
    assert written == tally.counts["written"] > 0


async def test_a_setting_of_the_session_would_be_found(
    server: RunningServer,
    urls: Urls,
    fresh_database: Callable[[], str],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The test above can fail: this is what it looks for."""
    monkeypatch.setattr(tenancy, "_BECOME", tenancy._BECOME.replace("true", "false"))
    admin = fresh_database()
    migrate(admin)
    companies = [make_company(admin, name) for name in ("acme", "rival")]
    tally, _ = await storm(server, admin, folder, companies, 1_000)
    assert tally.wrong
