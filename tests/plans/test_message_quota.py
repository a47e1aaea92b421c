"""A month's bot messages: never one over the limit, never one refused while there is room."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from uuid import UUID

import psycopg
import pytest
from psycopg import AsyncConnection

from neurant.core.db.pool import fetch_value, make_pool
from neurant.core.db.tenancy import Worker, tenant
from neurant.installation.embedded import Urls
from neurant.plans.jobs import run_monthly
from tests.companies import Company, make_company
from tests.support.platform import eventually, rows

pytestmark = pytest.mark.anyio

WRITERS = 64
SAY = (
    "insert into messages (company_id, conversation_id, sender_type, content)"
    " values (%s, %s, %s, 'x')"
)
Two = tuple[Company, Company]


@pytest.fixture
def companies(urls: Urls) -> Two:
    return make_company(urls.admin, "acme"), make_company(urls.admin, "rival")


def converse(urls: Urls, company: Company, count: int = 1) -> list[UUID]:
    """Open conversations of the company."""
    with psycopg.connect(urls.admin) as db:
        return [
            db.execute(
                "insert into conversations (company_id, chatbot_id, channel_account_id,"
                " end_user_id, channel) select a.company_id, a.chatbot_id, a.id,"
                " gen_random_uuid()::text, a.channel from channel_accounts a"
                " where a.company_id = %s and a.channel = 'web' returning id",
                (company.id,),
            ).fetchone()[0]
            for _ in range(count)
        ]


def allow(urls: Urls, company: Company, limit: int) -> None:
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "update companies set monthly_message_limit = %s where id = %s", (limit, company.id)
        )


def say(urls: Urls, company: Company, conversation: UUID, sender: str = "bot") -> None:
    with psycopg.connect(urls.admin) as db:
        db.execute(SAY, (company.id, conversation, sender))


def bot_messages(urls: Urls, company: Company) -> int:
    with psycopg.connect(urls.admin) as db:
        return db.execute(
            "select count(*) from messages where company_id = %s and sender_type = 'bot'",
            (company.id,),
        ).fetchone()[0]


async def usage(urls: Urls, company: Company, of: Company | None = None) -> object:
    """What the company is told that it (or another one) has used."""
    async with (
        make_pool(urls.jobs, size=1, pooled=False) as pool,
        tenant(pool, Worker(company.id)) as db,
    ):
        return await fetch_value(db, "select private.message_usage(%s)", ((of or company).id,))


class Writers:
    """Connections that write bot messages of one company at once, until they are refused."""

    def __init__(self, urls: Urls, company: Company) -> None:
        self.urls, self.company = urls, company
        self.conversations = converse(urls, company, WRITERS)
        self.connections: list[AsyncConnection] = []

    async def __aenter__(self) -> Writers:
        for _ in range(WRITERS):
            self.connections.append(await AsyncConnection.connect(self.urls.admin, autocommit=True))
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self.connections:
            await connection.close()

    async def write(self, each: int) -> tuple[int, list[dict[str, object]]]:
        """How many were stored, and what each refusal said."""
        refusals: list[dict[str, object]] = []

        async def one(connection: AsyncConnection, conversation: UUID) -> int:
            for done in range(each):
                try:
                    await connection.execute(SAY, (self.company.id, conversation, "bot"))
                except psycopg.Error as error:
                    if error.sqlstate != "NA002":
                        raise
                    refusals.append(json.loads(error.diag.message_detail or "{}"))
                    return done
            return each

        done = await asyncio.gather(*map(one, self.connections, self.conversations))
        return sum(done), refusals


@pytest.fixture
async def writers(urls: Urls, companies: Two) -> AsyncIterator[Writers]:
    async with Writers(urls, companies[0]) as made:
        yield made


@pytest.mark.parametrize("limit", [1, WRITERS - 1, WRITERS, 300])
async def test_writers_at_once_use_up_the_limit_to_the_last_and_not_one_more(
    urls: Urls, companies: Two, writers: Writers, limit: int
) -> None:
    acme, rival = companies
    allow(urls, acme, limit)
    stored, refusals = await writers.write(each=20)
    assert stored == bot_messages(urls, acme) == await usage(urls, acme) == limit
    told = {"limit": "monthly_message_limit", "used": limit, "allowed": limit}
    assert refusals
    assert all(refusal == told for refusal in refusals)
    say(urls, rival, converse(urls, rival)[0])
    assert await usage(urls, rival) == 1


async def test_nobody_is_refused_below_the_limit(urls: Urls, writers: Writers) -> None:
    allow(urls, writers.company, WRITERS * 10)
    assert await writers.write(each=10) == (WRITERS * 10, [])


async def test_unlimited_is_counted_and_never_refused(urls: Urls, writers: Writers) -> None:
    allow(urls, writers.company, -1)
    assert await writers.write(each=5) == (WRITERS * 5, [])
    assert await usage(urls, writers.company) == WRITERS * 5


async def test_a_limit_that_is_lowered_meanwhile_holds_from_its_commit_on(
    urls: Urls, writers: Writers
) -> None:
    allow(urls, writers.company, 10_000)
    writing = asyncio.create_task(writers.write(each=60))

    async def begun() -> bool:
        return bot_messages(urls, writers.company) >= 100

    await eventually(begun)
    async with await AsyncConnection.connect(urls.admin) as db:
        await db.execute(
            "update companies set monthly_message_limit = 5 where id = %s", (writers.company.id,)
        )
        # Whoever counts now waits for us: what is there is all that the old limit let through.
        before = bot_messages(urls, writers.company)
    stored, refusals = await writing
    assert stored == before == bot_messages(urls, writers.company)
    assert {refusal["allowed"] for refusal in refusals} == {5}
    allow(urls, writers.company, before + 3)
    assert (await writers.write(each=2))[0] == 3


async def test_draining_meanwhile_moves_the_count_and_changes_no_verdict(
    urls: Urls, writers: Writers
) -> None:
    allow(urls, writers.company, 400)
    writing = asyncio.create_task(writers.write(each=20))
    async with make_pool(urls.jobs, size=1, pooled=False) as pool:
        while not writing.done():
            await run_monthly(pool)
            await asyncio.sleep(0.005)
        await run_monthly(pool)
    assert (await writing)[0] == 400
    assert await rows(
        urls.admin,
        "select monthly_message_count from companies where id = %s",
        (writers.company.id,),
    ) == [(400,)]
    assert await usage(urls, writers.company) == 400


async def test_no_message_that_is_counted_during_a_reset_is_lost(
    urls: Urls, writers: Writers
) -> None:
    company = writers.company
    closed = 0
    writing = asyncio.create_task(writers.write(each=40))
    for month in range(1, 8):
        await asyncio.sleep(0.02)
        [[counted]] = await rows(
            urls.admin,
            "select counted from private.reset_monthly_message_count("
            " now() + %s * interval '32 days') where company_id = %s",
            (month, company.id),
        )
        closed += counted
    stored, refusals = await writing
    assert refusals == []
    [[left]] = await rows(
        urls.admin,
        "select monthly_message_count + (select sum(used) from usage_slots where company_id = c.id)"
        " from companies c where id = %s",
        (company.id,),
    )
    assert closed + left == stored == WRITERS * 40


async def test_only_the_bots_own_words_count(urls: Urls, companies: Two) -> None:
    acme, rival = companies
    allow(urls, acme, 1)
    [conversation] = converse(urls, acme)
    for sender in ("human", "system", "end_user"):
        say(urls, acme, conversation, sender)
    assert await usage(urls, acme) == 0
    say(urls, acme, conversation)
    with pytest.raises(psycopg.Error, match="limit reached: monthly_message_limit"):
        say(urls, acme, conversation)
    say(urls, acme, conversation, "human")
    assert await usage(urls, acme) == 1
    assert await usage(urls, rival) == 0


async def test_a_message_that_was_not_stored_was_not_counted(urls: Urls, companies: Two) -> None:
    acme, _ = companies
    [conversation] = converse(urls, acme)
    with psycopg.connect(urls.admin) as db:
        db.execute(SAY, (acme.id, conversation, "bot"))
        db.rollback()
    assert await usage(urls, acme) == 0


async def test_a_message_that_comes_back_with_its_number_is_not_counted_again(
    urls: Urls, companies: Two
) -> None:
    acme, _ = companies
    [conversation] = converse(urls, acme)
    say(urls, acme, conversation)
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "create temp table kept on commit drop as select * from messages where company_id = %s",
            (acme.id,),
        )
        db.execute("delete from messages where company_id = %s", (acme.id,))
        db.execute("insert into messages select * from kept")
    assert await usage(urls, acme) == bot_messages(urls, acme) == 1


async def test_nobody_learns_what_another_company_uses(urls: Urls, companies: Two) -> None:
    acme, rival = companies
    say(urls, acme, converse(urls, acme)[0])
    assert await usage(urls, acme) == 1
    assert await usage(urls, rival, of=acme) is None


@pytest.mark.parametrize(
    "call",
    ["private.reset_monthly_message_count()", "private.drain_message_usage(uuidv7())"],
)
async def test_nobody_who_serves_traffic_may_move_the_count(
    urls: Urls, companies: Two, call: str
) -> None:
    async with make_pool(urls.app, size=1, pooled=False) as pool:
        for role in ("owner", "operador"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                async with tenant(pool, companies[0].staff(role)) as db:
                    await db.execute(f"select {call}")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                async with tenant(pool, companies[0].staff(role)) as db:
                    await db.execute("update companies set monthly_message_count = 0")
