"""The one way to open a transaction for a principal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from neurant.core.db.pool import Pool, fetch_value, make_pool
from neurant.core.db.tenancy import Staff, Worker, tenant
from neurant.installation.embedded import Urls
from tests.companies import Company, make_company

pytestmark = pytest.mark.anyio

WHO = "select current_setting('role') || coalesce(current_setting('request.jwt.claims', true), '')"


@pytest.fixture
def acme(urls: Urls) -> Company:
    return make_company(urls.admin, "acme")


@pytest.fixture
async def pool(urls: Urls) -> AsyncIterator[Pool]:
    async with make_pool(urls.app, size=1, pooled=False) as opened:
        yield opened


async def test_inside_the_caller_is_verified(pool: Pool, acme: Company) -> None:
    async with tenant(pool, acme.staff("owner")) as connection:
        assert await fetch_value(connection, "select private.company_id()") == acme.id
        assert await fetch_value(connection, "select private.user_role()::text") == "owner"


async def test_nothing_of_the_caller_stays_on_the_connection(pool: Pool, acme: Company) -> None:
    async with tenant(pool, acme.staff("owner")):
        pass
    async with pool.connection() as connection:
        assert await fetch_value(connection, WHO) == "none"


async def test_an_exception_rolls_back(pool: Pool, acme: Company, urls: Urls) -> None:
    defer = "select private.defer_job('process_document', '{}')"
    with pytest.raises(LookupError):  # noqa: PT012 - the block is what is tested
        async with tenant(pool, acme.staff("owner")) as connection:
            await connection.execute(defer)
            raise LookupError
    with psycopg.connect(urls.admin) as db:
        count = "select count(*) from jobs.procrastinate_jobs where args ->> 'company_id' = %s"
        assert db.execute(count, (str(acme.id),)).fetchone() == (0,)


async def test_a_swallowed_failure_is_not_mistaken_for_a_commit(pool: Pool, acme: Company) -> None:
    with pytest.raises(RuntimeError):  # noqa: PT012 - the block is what is tested
        async with tenant(pool, acme.staff("owner")) as connection:
            with pytest.raises(psycopg.errors.DivisionByZero):
                await connection.execute("select 1 / 0")
    async with tenant(pool, acme.staff("owner")) as connection:
        assert await fetch_value(connection, "select private.company_id()") == acme.id


async def test_a_cancelled_caller_leaves_a_clean_connection(pool: Pool, acme: Company) -> None:
    began = asyncio.Event()

    async def slow() -> None:
        async with tenant(pool, acme.staff("owner")) as connection:
            began.set()
            await connection.execute("select pg_sleep(30)")

    task = asyncio.create_task(slow())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with pool.connection() as connection:
        assert await fetch_value(connection, WHO) == "none"


async def test_a_lost_connection_does_not_hide_why_the_caller_left(
    pool: Pool, acme: Company
) -> None:
    with pytest.raises(asyncio.CancelledError):  # noqa: PT012 - the block is what is tested
        async with tenant(pool, acme.staff("owner")) as connection:
            await connection.close()  # what psycopg does when a cancelled query does not end
            raise asyncio.CancelledError
    async with tenant(pool, acme.staff("owner")) as connection:
        assert await fetch_value(connection, "select private.company_id()") == acme.id


async def test_the_web_login_cannot_open_a_workers_transaction(pool: Pool, acme: Company) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with tenant(pool, Worker(acme.id)):
            pass


async def test_a_stranger_gets_a_transaction_that_shows_nothing(pool: Pool, acme: Company) -> None:
    rival = Staff(acme.people["owner"].auth_user_id, acme.bot_id)
    async with tenant(pool, rival) as connection:
        assert await fetch_value(connection, "select count(*) from public.companies") == 0
