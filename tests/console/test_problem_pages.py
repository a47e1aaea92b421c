"""What a person sees when something is not there for them: a page, never raw data."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from neurant.console.pages.login import router as pages
from neurant.console.static_files import mount_static
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from tests.companies import Company, make_company

pytest_plugins = ("tests.console.running_web",)


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
    app.state.services = SimpleNamespace(pool=AwayPool(error), settings=Settings())
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


@pytest.mark.parametrize(
    ("status", "denied", "role", "told"),
    [
        (
            "active",
            "{}",
            "operador",
            ("Tu rol no incluye esto", "tu rol es Operador", "/console/home"),
        ),
        (
            "active",
            '{"chatbots.edit": false}',
            "supervisor",
            ("No tienes este permiso", "te quitó «", "/console/home"),
        ),
        (
            "inactive",
            "{}",
            "supervisor",
            (
                "está en solo lectura",
                "La persona propietaria puede elegir un plan",
                "/console/home",
            ),
        ),
        ("inactive", "{}", "owner", ("está en solo lectura", "elige un plan", "/console/plan")),
    ],
)
def test_a_refused_page_says_why_and_what_to_do(
    urls: Urls,
    sign_in: Callable[[Company, str], httpx.Client],
    known_password: str,
    status: str,
    denied: str,
    role: str,
    told: tuple[Any, ...],
) -> None:
    firm = make_company(urls.admin, "acme", password_hash=known_password)
    client = sign_in(firm, role)
    with psycopg.connect(urls.admin, autocommit=True) as db:
        db.execute("update companies set subscription_status = %s where id = %s", (status, firm.id))
        where = (denied, firm.id, firm.people[role].id)
        db.execute("update users set permissions = %s where company_id = %s and id = %s", where)
    page = client.get("/console/bots/new")
    assert page.status_code == 403
    heading, detail, way = told
    assert heading in page.text
    assert detail in page.text
    assert f'href="{way}"' in page.text
    assert "repítela" not in page.text


def test_what_another_site_made_a_browser_ask_is_refused_as_that(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company
) -> None:
    headers = {"sec-fetch-site": "cross-site"}
    page = sign_in(acme, "owner").post("/console/home/hide", headers=headers)
    assert page.status_code == 403
    assert "desde las páginas de NeurAnt" in page.text
