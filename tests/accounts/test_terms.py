"""Terms are the installation's own: sign-up asks for them where there are any."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from accounts.letters import PASSWORD, new_address
from console.running_web import serving, web_settings

from neurant.database.embedded import Urls

pytest_plugins = ("console.running_web",)
TERMS, PRIVACY = "https://acme.example/terminos", "https://acme.example/datos?a=1&b=2"
ACCEPTED = "select terms_accepted_at is not null from sign_ups where email = %s"


@pytest.fixture
def strict(urls: Urls, tmp_path: Path) -> Iterator[httpx.Client]:
    """Nobody in particular, where the installation has terms."""
    settings = web_settings(urls.app, tmp_path, terms_url=TERMS, privacy_url=PRIVACY)
    with serving(settings) as url, httpx.Client(base_url=url) as client:
        yield client


def form(email: str, **more: str) -> dict[str, str]:
    return {"first_name": "Ana", "last_name": "Ruiz", "email": email, "password": PASSWORD} | more


def test_sign_up_links_them_and_keeps_that_they_were_accepted(
    strict: httpx.Client, database: psycopg.Connection
) -> None:
    page = strict.get("/signup").text
    assert f'href="{TERMS}"' in page
    assert 'href="https://acme.example/datos?a=1&amp;b=2"' in page
    email = new_address()
    refused = strict.post("/signup", data=form(email))
    assert (refused.status_code, "Faltan los términos" in refused.text) == (422, True)
    silent = strict.post("/v1/accounts", json=form(email))
    assert (silent.status_code, silent.json()["code"]) == (422, "accounts.terms_not_accepted")
    assert strict.post("/signup", data=form(email, terms="yes")).status_code == 303
    assert database.execute(ACCEPTED, (email,)).fetchall() == [(True,)]


def test_without_any_nothing_is_asked_and_nothing_is_kept(
    nobody: httpx.Client, database: psycopg.Connection
) -> None:
    page = nobody.get("/signup").text
    assert 'name="terms"' not in page
    assert "términos" not in page
    emails = [new_address(), new_address()]
    assert nobody.post("/signup", data=form(emails[0])).status_code == 303
    asked = form(emails[1]) | {"accept_terms": True}
    assert nobody.post("/v1/accounts", json=asked).status_code == 202
    for email in emails:
        assert database.execute(ACCEPTED, (email,)).fetchall() == [(False,)]
