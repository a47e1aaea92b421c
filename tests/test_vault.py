"""Secrets at rest open only where they were sealed."""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from pydantic import SecretStr

from neurant.core.db.pool import Pool, make_pool
from neurant.core.db.tenancy import tenant
from neurant.core.errors import SetupError
from neurant.core.settings import Settings
from neurant.core.vault import ensure_company_key, open_secret, seal_secret
from neurant.installation.embedded import Urls
from tests.companies import make_company

pytestmark = pytest.mark.anyio


def settings() -> Settings:
    return Settings(master_key=SecretStr(base64.b64encode(os.urandom(32)).decode()))


@pytest.fixture
async def pool(urls: Urls) -> AsyncIterator[Pool]:
    async with make_pool(urls.app, size=1, pooled=False) as opened:
        yield opened


async def test_a_secret_opens_for_its_row_and_for_no_other(pool: Pool, urls: Urls) -> None:
    acme, key, row = make_company(urls.admin, "acme"), settings(), uuid4()
    async with tenant(pool, acme.staff("owner")) as db:
        await ensure_company_key(db, key, acme.id)
        await ensure_company_key(db, key, acme.id)
        sealed = await seal_secret(db, key, acme.id, row, "123:ABC")
        assert b"123:ABC" not in sealed
        assert await open_secret(db, key, acme.id, row, sealed) == "123:ABC"
        with pytest.raises(SetupError):
            await open_secret(db, key, acme.id, uuid4(), sealed)


async def test_a_secret_of_one_company_does_not_open_in_another(pool: Pool, urls: Urls) -> None:
    acme, rival, key, row = (
        *(make_company(urls.admin, n) for n in ("acme", "rival")),
        settings(),
        uuid4(),
    )
    async with tenant(pool, acme.staff("owner")) as db:
        await ensure_company_key(db, key, acme.id)
        sealed = await seal_secret(db, key, acme.id, row, "123:ABC")
    async with tenant(pool, rival.staff("owner")) as db:
        await ensure_company_key(db, key, rival.id)
        with pytest.raises(SetupError):
            await open_secret(db, key, rival.id, row, sealed)


async def test_another_master_key_says_so(pool: Pool, urls: Urls) -> None:
    acme, key, row = make_company(urls.admin, "acme"), settings(), uuid4()
    async with tenant(pool, acme.staff("owner")) as db:
        await ensure_company_key(db, key, acme.id)
        sealed = await seal_secret(db, key, acme.id, row, "123:ABC")
        with pytest.raises(SetupError, match="NEURANT_MASTER_KEY"):
            await open_secret(db, settings(), acme.id, row, sealed)


@pytest.mark.parametrize("value", [None, "short", base64.b64encode(b"x" * 16).decode(), "ñ"])
async def test_a_bad_master_key_is_named(pool: Pool, urls: Urls, value: str | None) -> None:
    acme = make_company(urls.admin, "acme")
    bad = Settings(master_key=SecretStr(value) if value else None)
    async with tenant(pool, acme.staff("owner")) as db:
        with pytest.raises(SetupError, match="NEURANT_MASTER_KEY"):
            await ensure_company_key(db, bad, acme.id)
