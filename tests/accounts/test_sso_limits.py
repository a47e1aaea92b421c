"""Beginning a single sign-on costs a row and perhaps a question to the provider: both are limited."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import httpx
import psycopg
import pytest

from neurant.accounts.sso.connections import change
from neurant.accounts.sso.provider import providers
from neurant.accounts.sso.schemas import SsoConnectionPatch
from neurant.auth.identity_http import ProviderError
from neurant.core.db.pool import Pool, make_pool
from neurant.core.db.tenancy import tenant
from neurant.core.errors import ConflictError
from neurant.installation.embedded import Urls
from tests.companies import Company
from tests.support.sso import (  # fmt: skip
    Desk,
    Forgers,
    confirmed_company,
    connect,
    domain,
    forgers,
    sso_settings,
    sso_web,
)

pytestmark = pytest.mark.anyio
DISCOVERY = "/.well-known/openid-configuration"
FREE = 60  # attempts of one address
MAX_ATTEMPTS = 1000  # attempts that a connection keeps


@pytest.fixture(scope="module")
def many() -> Iterator[Forgers]:
    with forgers() as running:
        yield running


@pytest.fixture(scope="module")
def web(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with sso_web(urls, tmp_path_factory.mktemp("sso-limits")) as url:
        yield url


@pytest.fixture
async def pool(urls: Urls) -> AsyncIterator[Pool]:
    async with make_pool(urls.app, size=4, pooled=False) as opened:
        yield opened


@pytest.fixture
async def desk(pool: Pool, urls: Urls) -> AsyncIterator[Desk]:
    settings = sso_settings(urls)
    async with providers(settings) as known:
        yield Desk(pool, known, settings)


@pytest.fixture
def acme(urls: Urls) -> Company:
    return confirmed_company(urls.admin, "acme")


@pytest.fixture
def rival(urls: Urls) -> Company:
    return confirmed_company(urls.admin, "rival")


def attempts(urls: Urls, company: Company) -> int:
    with psycopg.connect(urls.admin) as db:
        query = "select count(*) from sso_attempts where company_id = %s"
        return db.execute(query, (company.id,)).fetchone()[0]


def from_address(address: str, web: str) -> httpx.AsyncClient:
    """A browser at an address of loopback."""
    transport = httpx.AsyncHTTPTransport(local_address=address)
    return httpx.AsyncClient(base_url=web, transport=transport)


async def test_one_address_cannot_begin_without_end(
    web: str, desk: Desk, acme: Company, many: Forgers, urls: Urls
) -> None:
    forger = many.new()
    await connect(desk.pool, desk.settings, acme, forger.issuer)
    start = {"email": f"nadie@{domain(acme)}"}
    async with from_address(f"127.7.{secrets.randbelow(256)}.9", web) as stranger:
        answers = [await stranger.get("/login/sso/start", params=start) for _ in range(FREE + 20)]
    statuses = [answer.status_code for answer in answers]
    assert statuses == [303] * FREE + [429] * 20
    assert "Demasiados intentos" in answers[-1].text
    assert attempts(urls, acme) == FREE
    async with from_address(f"127.8.{secrets.randbelow(256)}.9", web) as other:
        assert (await other.get("/login/sso/start", params=start)).status_code == 303


async def test_an_unreachable_provider_is_asked_once_in_half_a_minute(
    desk: Desk, acme: Company, many: Forgers
) -> None:
    forger = many.new()
    await connect(desk.pool, desk.settings, acme, forger.issuer)
    forger.say[DISCOVERY] = (503, b"")
    now = 1000.0
    email = f"nadie@{domain(acme)}"
    known = replace(desk.known, known=OrderedDict(), clock=lambda: now)
    visitors = replace(desk, known=known)
    refused = await asyncio.gather(*(visitors.go(email) for _ in range(20)), return_exceptions=True)
    assert {type(one) for one in refused} == {ProviderError}
    assert forger.asked.count(DISCOVERY) == 1
    del forger.say[DISCOVERY]
    now += 29
    with pytest.raises(ProviderError):
        await visitors.go(email)
    assert forger.asked.count(DISCOVERY) == 1
    now += 2
    assert (await visitors.go(email)).url.startswith(forger.issuer)


async def test_the_owner_s_check_asks_at_once_and_takes_nothing_from_those_who_sign_in(
    desk: Desk, acme: Company, many: Forgers
) -> None:
    forger = many.new()
    await connect(desk.pool, desk.settings, acme, forger.issuer)
    assert await desk.go(f"nadie@{domain(acme)}")
    forger.say[DISCOVERY] = (503, b"")
    with pytest.raises(ProviderError):
        await desk.known.find(forger.issuer, anew=True)
    assert await desk.go(f"nadie@{domain(acme)}")
    assert forger.asked.count(DISCOVERY) == 2


async def test_a_connection_keeps_its_newest_attempts_and_the_hourly_job_forgets_old_ones(
    desk: Desk, acme: Company, rival: Company, many: Forgers, urls: Urls
) -> None:
    for company in (acme, rival):
        await connect(desk.pool, desk.settings, company, many.new().issuer)
        assert await desk.go(f"nadie@{domain(company)}")
    begin = "select private.begin_sso(%s, sha256(%s), sha256(%s), '/', false)"
    with psycopg.connect(urls.app, autocommit=True) as app:
        for number in range(MAX_ATTEMPTS):
            key = f"{acme.id} {number}".encode()
            app.execute(begin, (domain(acme), key, key))
    assert (attempts(urls, acme), attempts(urls, rival)) == (MAX_ATTEMPTS, 1)
    with psycopg.connect(urls.admin, autocommit=True) as admin:
        newest = "select count(*) from sso_attempts where state_digest = sha256(%s)"
        assert admin.execute(newest, (key,)).fetchone() == (1,)
        old = "update sso_attempts set expires_at = now() - interval '61 minutes' where company_id = %s"  # fmt: skip
        admin.execute(old, (acme.id,))
    with psycopg.connect(urls.jobs, autocommit=True) as worker:
        worker.execute("select private.forget_old_accounts()")
    assert (attempts(urls, acme), attempts(urls, rival)) == (0, 1)


async def test_a_company_claims_fifty_domains_at_most_over_all_its_connections(
    desk: Desk, acme: Company, many: Forgers, urls: Urls
) -> None:
    claims: dict[str, Any] = {"default_role": None, "domains": []}
    made = [
        await connect(desk.pool, desk.settings, acme, many.new().issuer, **claims) for _ in range(3)
    ]

    async def claim(number: int, count: int) -> None:
        named = [f"d{n}.c{number}.{acme.slug}.example" for n in range(count)]
        patch = SsoConnectionPatch(domains=named)
        async with tenant(desk.pool, acme.staff("owner")) as db:
            await change(db, desk.settings, acme.id, made[number].id, patch)

    await claim(0, 20)
    await claim(1, 20)
    await claim(2, 10)
    with pytest.raises(ConflictError) as refused:
        await claim(2, 11)
    assert refused.value.code == "sso.too_many_domains"
    with psycopg.connect(urls.admin, autocommit=True) as admin:
        query = "select count(*) from sso_domains where company_id = %s"
        assert admin.execute(query, (acme.id,)).fetchone() == (50,)
    await claim(0, 19)
    await claim(2, 11)
