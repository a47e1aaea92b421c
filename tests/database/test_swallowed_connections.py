"""Connections that something on the way swallows without a reset: the platform recovers by itself.

The bounds are what is promised to a host: ten seconds for a request, a live chat and readiness.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from uuid import uuid4

import httpx
import psycopg
import pytest

from neurant.core.db.connection import connect, patience, with_timeouts
from neurant.core.db.pool import fetch_value, make_pool
from neurant.core.realtime import Hub
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from neurant.runtime.app import create_app
from tests.channels.webchat.test_web_chat import Site, texts
from tests.companies import make_company
from tests.support.platform import eventually, free_port, rows, serving, working
from tests.support.swallowing_proxy import SwallowingProxy, swallowing_proxy

pytest_plugins = ("tests.support.fixtures",)
pytestmark = pytest.mark.anyio
RECOVERS_WITHIN = 10.0  # seconds


@dataclass
class Behind:
    """A web process and a worker whose every connection leads through the proxy."""

    site: Site
    proxy: SwallowingProxy


@pytest.fixture
async def behind(own: Urls, settings: Callable[..., Settings]) -> AsyncIterator[Behind]:
    with swallowing_proxy(own.app) as proxy:
        chosen = settings(
            port=free_port(), log_level="warning",
            app_database_url=proxy.url(own.app), jobs_database_url=proxy.url(own.jobs),
        )  # fmt: skip
        acme, rival = make_company(own.admin, "acme"), make_company(own.admin, "rival")
        async with (
            serving(create_app(chosen), chosen.port, lifespan="on") as base,
            httpx.AsyncClient(base_url=base, timeout=20) as http,
        ):
            yield Behind(Site(own, chosen, acme, rival, http), proxy)


async def readiness(http: httpx.AsyncClient) -> httpx.Response:
    return await http.get("/readyz")


async def test_a_web_request_recovers_within_seconds(behind: Behind) -> None:
    visitor = await behind.site.visitor()
    await visitor.says("hola")
    behind.proxy.swallow()
    started = time.monotonic()

    async def said() -> bool:
        answer = await visitor.post({"client_id": str(uuid4()), "text": "¿hay alguien?"})
        assert answer.status_code in (200, 503), answer.text
        return answer.status_code == 200

    await eventually(said, RECOVERS_WITHIN)
    assert time.monotonic() - started < RECOVERS_WITHIN


async def test_a_request_under_way_is_given_up_within_seconds(behind: Behind, own: Urls) -> None:
    visitor = await behind.site.visitor()
    with psycopg.connect(own.admin) as locked:
        # Its statement waits in the server when the proxy swallows the connection.
        locked.execute("lock table public.messages in access exclusive mode")
        started = time.monotonic()
        answer = asyncio.create_task(visitor.post({"client_id": str(uuid4()), "text": "hola"}))
        await asyncio.sleep(0.5)
        behind.proxy.swallow()
        assert (await answer).status_code == 503
        assert time.monotonic() - started < RECOVERS_WITHIN


async def test_a_live_chat_that_was_open_gets_the_next_message(behind: Behind) -> None:
    visitor = await behind.site.visitor()
    await visitor.says("hola")
    other_tab = await behind.site.visitor()
    other_tab.token = visitor.token
    heard = asyncio.create_task(
        visitor.listen(lambda events: "sigo aquí" in texts(events), seconds=RECOVERS_WITHIN + 5)
    )
    await asyncio.sleep(1)  # the stream waits for news now
    assert not heard.done()
    behind.proxy.swallow()
    started = time.monotonic()

    async def said() -> bool:
        answer = await other_tab.post({"client_id": str(uuid4()), "text": "sigo aquí"})
        return answer.status_code == 200

    await eventually(said, RECOVERS_WITHIN)
    await heard
    assert time.monotonic() - started < RECOVERS_WITHIN + 2


async def test_a_hub_that_was_swallowed_hears_again_and_has_everybody_read(own: Urls) -> None:
    company, conversation = uuid4(), uuid4()
    with swallowing_proxy(own.app) as proxy:
        async with Hub(proxy.url(own.app)).running() as far, Hub(own.app).running() as near:
            with far.subscribe(company) as subscription:
                while conversation not in await subscription.wait(0.1):
                    near.announce(company, conversation)
                await subscription.wait(0.2)
                proxy.swallow()
                started = time.monotonic()
                near.announce(company, conversation)  # lost
                assert await subscription.wait(RECOVERS_WITHIN) == set(), "read everything again"
                assert time.monotonic() - started < RECOVERS_WITHIN, "it was woken"
                near.announce(company, conversation)
                assert await subscription.wait(5) == {conversation}
                assert time.monotonic() - started < RECOVERS_WITHIN


async def test_the_worker_goes_on_replying(behind: Behind) -> None:
    async with working(behind.site.settings):
        visitor = await behind.site.visitor()
        await visitor.says("hola")

        async def replied(to: int) -> bool:
            [[count]] = await rows(
                behind.site.urls.admin, "select count(*) from messages where sender_type = 'bot'"
            )
            return bool(count >= to)

        await eventually(lambda: replied(1))
        behind.proxy.swallow()

        async def said() -> bool:
            answer = await visitor.post({"client_id": str(uuid4()), "text": "hola otra vez"})
            return answer.status_code == 200

        await eventually(said, RECOVERS_WITHIN)
        await eventually(lambda: replied(2), 20, "the worker did not reply again")


async def test_a_pool_full_of_swallowed_connections_recovers(own: Urls) -> None:
    with swallowing_proxy(own.app) as proxy:
        async with make_pool(proxy.url(own.app), size=6, pooled=False) as pool:

            async def ask() -> object:
                async with pool.connection() as connection:
                    return await fetch_value(connection, "select pg_sleep(0.2)::text || 'x'")

            await asyncio.gather(*(ask() for _ in range(6)))
            assert proxy.connections >= 6
            proxy.swallow()
            await asyncio.sleep(1.1)  # they are idle, and no longer trusted
            started = time.monotonic()
            answers = await asyncio.gather(*(ask() for _ in range(6)))
            assert answers == ["x"] * 6
            assert time.monotonic() - started < RECOVERS_WITHIN


async def test_readiness_tells_within_seconds_and_liveness_goes_on(behind: Behind) -> None:
    http = behind.site.http
    assert (await readiness(http)).json() == {"status": "ready"}
    behind.proxy.swallow(new_too=True)
    started = time.monotonic()

    async def told() -> bool:
        answer = await readiness(http)
        return answer.status_code == 503

    await eventually(told, RECOVERS_WITHIN)
    assert time.monotonic() - started < RECOVERS_WITHIN
    assert (await readiness(http)).json() == {"status": "the database does not answer"}
    asked = time.monotonic()
    assert (await http.get("/healthz")).json() == {"status": "alive"}
    assert time.monotonic() - asked < 1
    behind.proxy.let_new_through()

    async def ready() -> bool:
        return (await readiness(http)).status_code == 200

    await eventually(ready, 2 * RECOVERS_WITHIN)


async def test_readiness_tells_that_live_updates_do_not_arrive(
    own: Urls, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neurant.core.realtime._DEAF", 4.0)
    with swallowing_proxy(own.app) as proxy:
        chosen = settings(port=free_port(), listen_database_url=proxy.url(own.app))
        async with (
            serving(create_app(chosen), chosen.port, lifespan="on") as base,
            httpx.AsyncClient(base_url=base, timeout=20) as http,
        ):
            proxy.swallow(new_too=True)

            async def told() -> bool:
                return (await readiness(http)).json() == {"status": "live updates do not arrive"}

            await eventually(told, RECOVERS_WITHIN)


async def test_a_statement_may_take_longer_where_its_caller_says_so(own: Urls) -> None:
    async with await connect(own.app, autocommit=True) as connection:
        with patience(0.2), pytest.raises(psycopg.OperationalError, match=r"within 0\.2 seconds"):
            await connection.execute("select pg_sleep(1)")
        assert connection.closed, "nobody knows what the server still does with the statement"
    async with await connect(own.app, autocommit=True) as connection:
        with patience(5):
            await connection.execute("select pg_sleep(0.4)")


def test_every_connection_has_time_outs_and_an_address_may_set_its_own() -> None:
    url = with_timeouts("postgresql://somebody:secret@db.example/neurant?keepalives_idle=77")
    read = psycopg.conninfo.conninfo_to_dict(url)
    assert read["keepalives_idle"] == "77"
    assert read["password"] == "secret"
    for name in ("keepalives", "keepalives_interval", "keepalives_count", "tcp_user_timeout"):
        assert read[name]
