"""What a person sees when something is not there for them: a page, never raw data."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from neurant.accounts.pages import router as pages
from neurant.console.static_files import mount_static
from neurant.settings import Settings


class AwayPool:
    """A pool whose database is not there."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def connection(self) -> object:
        raise self._error


async def without_database(error: Exception) -> httpx.Response:
    app = FastAPI()
    app.include_router(pages)
    mount_static(app)
    app.state.pool, app.state.settings = AwayPool(error), Settings()
    cookies = {"neurant_session": "some-token"}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x", cookies=cookies) as web:
        return await web.get("/login")


@pytest.mark.anyio
@pytest.mark.parametrize("error", [OperationalError("gone"), PoolTimeout("none left")])
async def test_without_a_database_a_page_says_so_and_offers_to_try_again(
    error: Exception,
) -> None:
    answer = await without_database(error)
    assert answer.status_code == 503
    assert answer.headers["content-type"].startswith("text/html")
    assert "La base de datos no responde" in answer.text
    assert 'href="/login"' in answer.text
    assert "gone" not in answer.text
