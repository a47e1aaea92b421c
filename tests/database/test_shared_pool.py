"""Connections: held for the database only, and shared fairly between companies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg_pool import PoolTimeout

from neurant.auth.codes import digest
from neurant.core.db import pool as pools
from neurant.core.db import tenancy
from neurant.core.db.pool import Pool, make_pool, must_hold_nothing, sharing
from neurant.core.db.tenancy import KeyToken, SessionToken, Trail, Visitor, entered, tenant
from neurant.core.errors import RateLimitedError, UnavailableError
from neurant.installation.embedded import Urls
from tests.companies import Company, make_company, open_visitor

pytestmark = pytest.mark.anyio
SIZE = 4


@pytest.fixture
async def pool(urls: Urls) -> AsyncIterator[Pool]:
    async with make_pool(urls.app, size=SIZE, pooled=False, is_shared=True) as opened:
        yield opened


@pytest.fixture(scope="module")
def acme(urls: Urls) -> Company:
    return make_company(urls.admin, "acme")


@pytest.fixture(scope="module")
def rival(urls: Urls) -> Company:
    return make_company(urls.admin, "rival")


class Holders:
    """Transactions that stay open until they are told to end."""

    def __init__(self, pool: Pool) -> None:
        self._pool, self.inside = pool, 0
        self._end, self._tasks = asyncio.Event(), list[asyncio.Task[None]]()

    async def __aenter__(self) -> Holders:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._end.set()
        await asyncio.gather(*self._tasks)

    async def hold(self, company: Company, count: int, expected: int) -> None:
        """``count`` more begin; waits until ``expected`` are in."""

        async def one() -> None:
            async with tenant(self._pool, company.staff("owner")):
                self.inside += 1
                await self._end.wait()

        self._tasks += [asyncio.create_task(one()) for _ in range(count)]
        async with asyncio.timeout(5):
            while self.inside < expected:  # noqa: ASYNC110 - an event would be set too early
                await asyncio.sleep(0)


async def test_a_company_that_wants_everything_has_half_and_others_are_served_at_once(
    pool: Pool, acme: Company, rival: Company
) -> None:
    async with Holders(pool) as holders:
        await holders.hold(acme, 40, SIZE // 2)
        async with asyncio.timeout(2), tenant(pool, rival.staff("owner")) as connection:
            [name] = await (await connection.execute("select name from companies")).fetchone()
        assert name == rival.name
        assert holders.inside == SIZE // 2
    assert holders.inside == 40


async def test_visitors_and_logins_have_shares_of_their_own(
    pool: Pool, acme: Company, urls: Urls
) -> None:
    _, visitor = open_visitor(urls.admin, acme)
    async with Holders(pool) as holders:
        await holders.hold(acme, 10, SIZE // 2)
        async with asyncio.timeout(2):
            async with tenant(pool, Visitor(visitor)) as connection:
                await connection.execute("select 1")
            async with pool.connection() as connection:
                await connection.execute("select 1")


async def test_too_long_a_queue_is_refused_with_a_time_to_come_back(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "_MAX_WAITING", 0)
    monkeypatch.setattr(pools, "_MAX_WAITING_SHARED", 0)
    for sharer, refusal in ((uuid4(), RateLimitedError), ("anybody", UnavailableError)):
        with sharing(sharer):
            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                end, inside = asyncio.Event(), asyncio.Semaphore(0)

                async def hold(end: asyncio.Event, inside: asyncio.Semaphore) -> None:
                    async with pool.connection():
                        inside.release()
                        await end.wait()

                for _ in range(SIZE // 2):
                    group.create_task(hold(end, inside))
                    await inside.acquire()
                with pytest.raises(refusal) as told:
                    async with pool.connection():
                        pass
                assert told.value.params["seconds"] > 0
                end.set()


async def test_who_waits_in_a_queue_waits_for_so_long(pool: Pool, acme: Company) -> None:
    async with Holders(pool) as holders:
        await holders.hold(acme, SIZE // 2, SIZE // 2)
        with sharing(acme.id), pytest.raises(RateLimitedError):
            async with pool.connection(timeout=0.05):
                pass


async def test_who_is_of_no_company_is_shown_that_the_service_is_unavailable(pool: Pool) -> None:
    end, inside = asyncio.Event(), asyncio.Semaphore(0)

    async def hold() -> None:
        async with pool.connection():
            inside.release()
            await end.wait()

    holding = [asyncio.create_task(hold()) for _ in range(SIZE // 2)]
    for _ in holding:
        await inside.acquire()
    with pytest.raises(PoolTimeout):
        async with pool.connection(timeout=0.05):
            pass
    end.set()
    await asyncio.gather(*holding)


async def test_a_credential_takes_the_share_of_its_company_once_it_is_known(
    pool: Pool, acme: Company, urls: Urls
) -> None:
    token = uuid4().hex
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "insert into login_sessions (company_id, user_id, token_digest, expires_at)"
            " values (%s, %s, %s, now() + interval '1 day')",
            (acme.id, acme.people["owner"].id, digest(token)),
        )
    credential, taken = SessionToken(digest(token)), list[int]()

    async def call() -> None:
        async with entered(pool, credential, None, Trail()) as (_, caller):
            assert caller is not None
            assert pool._gate is not None
            taken.append(pool._gate.taken(acme.id))

    await asyncio.gather(*(call() for _ in range(20)))
    assert tenancy.company_of(credential) == acme.id
    assert max(taken) <= SIZE // 2
    assert taken[-1] > 0


async def test_what_is_kept_of_credentials_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenancy, "_MAX_KNOWN", 3)
    monkeypatch.setattr(tenancy, "_companies", {})
    for number in range(10):
        tenancy.remember(KeyToken(bytes([number])), UUID(int=number))
    assert len(tenancy._companies) == 3
    assert tenancy.company_of(KeyToken(bytes([9]))) == UUID(int=9)


async def test_a_second_connection_and_any_other_wait_is_noticed_while_one_is_held(
    pool: Pool, acme: Company
) -> None:
    must_hold_nothing("anything")
    async with tenant(pool, acme.staff("owner")):
        with pytest.raises(RuntimeError, match="a second connection"):
            async with pool.connection():
                pass
        with pytest.raises(RuntimeError, match="a thread"):
            await asyncio.to_thread(print)
    must_hold_nothing("anything")


async def test_another_task_may_wait_meanwhile(pool: Pool, acme: Company) -> None:
    async def wait() -> None:
        must_hold_nothing("anything")
        async with pool.connection() as connection:
            await connection.execute("select 1")

    async with tenant(pool, acme.staff("owner")):
        await asyncio.create_task(wait())


async def test_outside_of_tests_it_is_logged_and_goes_on(
    pool: Pool, acme: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged = list[str]()
    monkeypatch.setattr(pools, "is_strict", False)
    monkeypatch.setattr(pools.log, "error", lambda event, **_: logged.append(event), raising=False)
    async with tenant(pool, acme.staff("owner")):
        must_hold_nothing("anything")
    assert logged == ["connection_held_while_waiting"]
