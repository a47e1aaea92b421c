"""Terms are the installation's own: whoever makes an account is asked for them where there are any."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.accounts.sent_mails import PASSWORD, new_address
from tests.companies import Company, make_company
from tests.console.people import PASSWORD as PEOPLES_PASSWORD
from tests.console.running_web import serving, web_settings
from tests.team.waiting_mails import invitation_token

pytest_plugins = ("tests.console.running_web",)
TERMS, PRIVACY = "https://acme.example/terminos", "https://acme.example/datos?a=1&b=2"
ACCEPTED = "select terms_accepted_at is not null from sign_ups where email = %s"
LOGINS = """
select a.terms_accepted_at > now() - interval '1 minute', a.first_name, a.last_name
from auth.users l left join auth_accounts a on a.auth_user_id = l.id where l.email = %s
"""
SignIn = Callable[[Company, str], httpx.Client]


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
    assert (refused.status_code, "Acepta los términos" in refused.text) == (422, True)
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


@pytest.fixture
def acme(urls: Urls, known_password: str) -> Company:
    """One of its own for each test: seats are counted."""
    return make_company(urls.admin, "acme", password_hash=known_password)


def invited(client: httpx.Client, database: psycopg.Connection, email: str) -> str:
    """The token of an invitation that was mailed."""
    asked = {"email": email, "role": "operador", "last_name": "Paz"}
    assert client.post("/v1/invitations", json=asked).status_code == 201
    return invitation_token(database, email)


def test_who_is_invited_and_new_accepts_them_and_it_is_kept(
    strict: httpx.Client, sign_in: SignIn, acme: Company, database: psycopg.Connection
) -> None:
    email = new_address()
    token = invited(sign_in(acme, "owner"), database, email)
    given = {"token": token, "first_name": "Eva", "password": PASSWORD}
    for silent in (given, given | {"accept_terms": False}):
        refused = strict.post("/v1/invitations/accept", json=silent)
        assert (refused.status_code, refused.json()["code"]) == (422, "accounts.terms_not_accepted")
    assert database.execute(LOGINS, (email,)).fetchall() == []
    joined = strict.post("/v1/invitations/accept", json=given | {"accept_terms": True})
    assert joined.status_code == 201, joined.text
    assert database.execute(LOGINS, (email,)).fetchall() == [(True, "Eva", "Paz")]


def test_the_invitation_s_page_links_them_and_asks(
    strict: httpx.Client, sign_in: SignIn, acme: Company, database: psycopg.Connection
) -> None:
    strict.follow_redirects = True
    email = new_address()
    token = invited(sign_in(acme, "owner"), database, email)
    page = strict.post("/invitation/open", data={"token": f"https://x.example/invitation#{token}"})
    assert 'name="terms"' in page.text
    assert f'href="{TERMS}"' in page.text
    assert 'href="https://acme.example/datos?a=1&amp;b=2"' in page.text
    person = {"first_name": "Eva", "password": PASSWORD}
    refused = strict.post("/invitation", data=person)
    assert (refused.status_code, "aceptar los términos" in refused.text) == (422, True)
    assert 'aria-invalid="true"' not in refused.text  # the password is not what is wrong
    weak = strict.post("/invitation", data=person | {"password": "corta", "terms": "yes"})
    assert 'value="yes" required checked' in weak.text
    joined = strict.post("/invitation", data=person | {"terms": "yes"})
    assert joined.url.path == "/console/inbox"
    assert database.execute(LOGINS, (email,)).fetchall() == [(True, "Eva", "Paz")]


def test_who_has_an_account_joins_without_being_asked(
    strict: httpx.Client,
    sign_in: SignIn,
    acme: Company,
    rival: Company,
    database: psycopg.Connection,
) -> None:
    strict.follow_redirects = True
    person = rival.people["operador"]
    token = invited(sign_in(acme, "owner"), database, person.email)
    strict.post("/login", data={"email": person.email, "password": PEOPLES_PASSWORD})
    page = strict.post("/invitation/open", data={"token": f"https://x.example/invitation#{token}"})
    assert "Unirme a Acme" in page.text
    assert 'name="terms"' not in page.text
    assert strict.post("/invitation").url.path == "/console/inbox"
    assert database.execute(LOGINS, (person.email,)).fetchall() == [(None, None, None)]


def test_an_invitation_without_any_asks_and_keeps_nothing(
    nobody: httpx.Client, sign_in: SignIn, acme: Company, database: psycopg.Connection
) -> None:
    nobody.follow_redirects = True
    email = new_address()
    token = invited(sign_in(acme, "owner"), database, email)
    page = nobody.post("/invitation/open", data={"token": f"https://x.example/invitation#{token}"})
    assert 'name="password"' in page.text
    assert 'name="terms"' not in page.text
    given = {"token": token, "first_name": "Eva", "password": PASSWORD, "accept_terms": True}
    assert nobody.post("/v1/invitations/accept", json=given).status_code == 201
    assert database.execute(LOGINS, (email,)).fetchall() == [(None, None, None)]
