"""A whole sign-on at a certified provider (oidc-provider), as a browser goes through it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import psycopg
import pytest

from neurant.accounts.sso.provider import providers
from neurant.auth.codes import digest
from neurant.auth.jwks import BETWEEN, KeyCache
from neurant.auth.passwords import hash_password
from neurant.core.db.pool import make_pool
from neurant.installation.embedded import Urls
from tests.companies import Company
from tests.support.oidc_peer import Peer, running_peer
from tests.support.sso import Desk, confirmed_company, connect, domain, prove, sso_settings, sso_web

PASSWORD = "un-paraguas-amarillo"


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    with running_peer() as running:
        yield running


@pytest.fixture(scope="module")
def web(urls: Urls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with sso_web(urls, tmp_path_factory.mktemp("sso-web")) as url:
        yield url


@pytest.fixture
def browser(web: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=web) as client:
        yield client


@pytest.fixture(scope="module")
def password() -> str:
    return hash_password(PASSWORD)


@pytest.fixture
def acme(urls: Urls, password: str) -> Company:
    return confirmed_company(urls.admin, "acme", password_hash=password)


@pytest.fixture
def rival(urls: Urls, password: str) -> Company:
    return confirmed_company(urls.admin, "rival", password_hash=password)


def token_of(web: str, company: Company, role: str) -> dict[str, str]:
    told = {"email": company.people[role].email, "password": PASSWORD}
    token = httpx.post(f"{web}/v1/session", json=told).json()["token"]
    return {"authorization": f"Bearer {token}"}


def connected(web: str, urls: Urls, company: Company, peer: Peer, **more: Any) -> dict[str, Any]:
    new = {
        "name": "Acme ID", "issuer": peer.issuer, "client_id": "acme",
        "client_secret": "secret-of-acme", "domains": [domain(company)],
    } | more  # fmt: skip
    made = httpx.post(
        f"{web}/v1/sso-connections", json=new, headers=token_of(web, company, "owner")
    )
    assert made.status_code == 201, made.text
    prove(urls.admin, company, *made.json()["domains"])
    return made.json()


def sign_on(browser: httpx.Client, peer: Peer, email: str, login: str) -> httpx.Response:
    """From the login page to the provider and back; our answer at the end."""
    started = browser.get("/login/sso/start", params={"email": email, "next": "/console/knowledge"})
    assert started.status_code == 303, started.text
    return browser.get(peer.visit(started.headers["location"], login))


def test_a_company_s_provider_makes_no_known_device_that_escapes_the_login_s_brake(
    browser: httpx.Client, web: str, peer: Peer, acme: Company, urls: Urls
) -> None:
    """The password opens every company of the login, and a provider speaks for one only."""
    connected(web, urls, acme, peer)
    person = acme.people["supervisor"]
    peer.person(person.email, email=person.email, email_verified=True)
    assert sign_on(browser, peer, person.email, person.email).status_code == 303
    assert "neurant_session" in browser.cookies
    assert "neurant_device" not in browser.cookies
    right = {"email": person.email, "password": PASSWORD}
    with httpx.Client(base_url=web) as stranger:
        while stranger.post("/login", data=right | {"password": "?"}).status_code != 429:
            pass
    assert browser.post("/login", data=right).status_code == 429


def test_a_device_that_the_password_made_known_stays_known_after_a_sign_on(
    browser: httpx.Client, web: str, peer: Peer, acme: Company, urls: Urls
) -> None:
    connected(web, urls, acme, peer)
    person = acme.people["supervisor"]
    right = {"email": person.email, "password": PASSWORD}
    assert browser.post("/login", data=right).status_code == 303
    known = browser.cookies["neurant_device"]
    peer.person(person.email, email=person.email, email_verified=True)
    assert sign_on(browser, peer, person.email, person.email).status_code == 303
    assert browser.cookies["neurant_device"] == known
    with httpx.Client(base_url=web) as stranger:
        while stranger.post("/login", data=right | {"password": "?"}).status_code != 429:
            pass
    assert browser.post("/login", data=right).status_code == 303


@pytest.mark.parametrize(
    ("client", "name"), [("acme", "basic and RS256"), ("other", "post and ES256")]
)
def test_a_person_comes_in_by_the_company_s_provider(
    browser: httpx.Client, web: str, peer: Peer, acme: Company, client: str, name: str, urls: Urls
) -> None:
    made = connected(web, urls, acme, peer, client_id=client, client_secret=f"secret-of-{client}")
    assert made["redirect_uri"] == f"{web}/login/sso/callback/{acme.id}"
    person = acme.people["supervisor"]
    login = f"sub-{person.id}"
    peer.person(login, email=person.email, email_verified=True, name="Ana Paz")
    arrived = sign_on(browser, peer, person.email, login)
    assert (arrived.status_code, arrived.headers["location"]) == (303, "/console/knowledge"), name
    page = browser.get("/console/knowledge")
    assert page.status_code == 200
    assert acme.name in page.text
    again = sign_on(browser, peer, person.email, login)
    assert again.status_code == 303


def test_who_is_invited_or_may_come_arrives_with_a_seat_and_a_role(
    browser: httpx.Client, web: str, peer: Peer, acme: Company, rival: Company, urls: Urls
) -> None:
    made = connected(web, urls, acme, peer)
    owner = token_of(web, acme, "owner")
    invited, newcomer = f"invited@{domain(acme)}", f"nuevo@{domain(acme)}"
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "insert into user_invitations (company_id, email, role, invited_by, token_digest)"
            " values (%s, %s, 'supervisor', %s, sha256(%s))",
            (acme.id, invited, acme.people["owner"].id, str(acme.id)),
        )
    for email in (invited, newcomer):
        peer.person(email, email=email, email_verified=True, given_name="Ana", family_name="Ñuñez")
    assert sign_on(browser, peer, invited, invited).status_code == 303
    refused = sign_on(browser, peer, newcomer, newcomer)
    assert refused.status_code == 401
    assert "no te ha invitado" in refused.text
    changed = httpx.patch(
        f"{web}/v1/sso-connections/{made['id']}", json={"default_role": "operador"}, headers=owner
    )
    assert changed.json()["default_role"] == "operador"
    assert sign_on(browser, peer, newcomer, newcomer).status_code == 303
    with psycopg.connect(urls.admin) as db:
        found = db.execute(
            "select email, role::text, first_name, last_name from users where company_id = %s"
            " and email in (%s, %s) order by email",
            (acme.id, invited, newcomer),
        ).fetchall()
        logins = db.execute(
            "select count(*), count(email_confirmed_at) from auth.users where email = any (%s)",
            ([invited, newcomer],),
        ).fetchone()
        status = db.execute(
            "select status::text from user_invitations where email = %s", (invited,)
        ).fetchone()
        came = db.execute(
            "select a.action::text, a.user_id = a.resource_id from audit_logs a join users u"
            " on u.company_id = a.company_id and u.id = a.resource_id"
            " where a.resource_type = 'users' and a.action = 'create' and u.email in (%s, %s)",
            (invited, newcomer),
        ).fetchall()
    assert found == [
        (invited, "supervisor", "Ana", "Ñuñez"),
        (newcomer, "operador", "Ana", "Ñuñez"),
    ]
    assert logins == (2, 0)  # a provider vouches to its own company only
    assert status == ("accepted",)
    assert came == [("create", True)] * 2  # they did it themselves
    people = httpx.get(f"{web}/v1/sso-connections/{made['id']}/people", headers=owner).json()
    assert {one["subject"] for one in people["data"]} == {invited, newcomer}
    stranger = httpx.get(
        f"{web}/v1/sso-connections/{made['id']}/people", headers=token_of(web, rival, "owner")
    )
    assert stranger.status_code == 404


def test_no_seat_is_reported_and_nothing_is_half_done(
    browser: httpx.Client, web: str, peer: Peer, acme: Company, urls: Urls
) -> None:
    connected(web, urls, acme, peer, default_role="operador")
    with psycopg.connect(urls.admin) as db:
        db.execute("update companies set max_users = 4 where id = %s", (acme.id,))
    email = f"uno-mas@{domain(acme)}"
    peer.person(email, email=email, email_verified=True)
    refused = sign_on(browser, peer, email, email)
    assert refused.status_code == 401
    assert "puestos del plan" in refused.text
    with psycopg.connect(urls.admin) as db:
        assert db.execute("select from auth.users where email = %s", (email,)).fetchall() == []
        assert db.execute("select from users where email = %s", (email,)).fetchall() == []


def test_an_address_that_is_only_at_userinfo_counts_too(
    browser: httpx.Client, web: str, peer: Peer, acme: Company, urls: Urls
) -> None:
    connected(web, urls, acme, peer)
    person = acme.people["operador"]
    login = f"sub-{person.id}"
    peer.person(login, email=person.email, email_verified=True, userinfo_only=True)
    assert sign_on(browser, peer, person.email, login).status_code == 303


@pytest.mark.anyio
async def test_keys_that_rotate_are_followed(acme: Company, urls: Urls) -> None:
    person = acme.people["operador"]
    settings = sso_settings(urls)
    now = 0.0
    with running_peer() as own:  # others must not meet its other keys
        own.person(person.email, email=person.email, email_verified=True)
        async with (
            make_pool(urls.app, size=2, pooled=False) as pool,
            providers(settings) as known,
        ):
            desk = Desk(pool, replace(known, keys=KeyCache(known.client, lambda: now)), settings)
            await connect(pool, settings, acme, own.issuer)
            for _ in range(2):
                gone = await desk.go(person.email)
                back = await asyncio.to_thread(own.visit, gone.url, person.email)
                assert (await desk.come(acme.id, gone, dict(httpx.URL(back).params))).token
                own.rotate()
                now += BETWEEN + 1


def test_a_clock_that_is_off_is_forgiven_a_minute(
    browser: httpx.Client, web: str, peer: Peer, acme: Company, urls: Urls
) -> None:
    connected(web, urls, acme, peer)
    person = acme.people["operador"]
    login = f"sub-{person.id}"
    peer.person(login, email=person.email, email_verified=True)
    try:
        peer.clock(45)
        assert sign_on(browser, peer, person.email, login).status_code == 303
        peer.clock(300)
        assert sign_on(browser, peer, person.email, login).status_code == 401
    finally:
        peer.clock(0)


def test_the_attempt_s_cookie_is_out_of_reach_and_goes_when_it_is_used(
    browser: httpx.Client, web: str, peer: Peer, acme: Company, urls: Urls
) -> None:
    connected(web, urls, acme, peer)
    person = acme.people["operador"]
    peer.person(person.email, email=person.email, email_verified=True)
    started = browser.get("/login/sso/start", params={"email": person.email, "keep": "yes"})
    cookie = started.headers["set-cookie"].lower()
    assert cookie.startswith("neurant_sso_")
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "max-age=600" in cookie
    back = peer.visit(started.headers["location"], person.email)
    with httpx.Client(base_url=web) as other:
        refused = other.get(back)
    assert refused.status_code == 401
    assert "set-cookie" not in refused.headers
    arrived = browser.get(back)
    assert arrived.headers["location"] == "/console/inbox"
    assert "max-age=2592000" in arrived.headers["set-cookie"].lower()
    assert not [name for name in browser.cookies if name.startswith("neurant_sso_")]
    replayed = browser.get(back)
    assert replayed.status_code == 401


def test_who_cancels_is_shown_why(
    browser: httpx.Client, web: str, peer: Peer, acme: Company, urls: Urls
) -> None:
    connected(web, urls, acme, peer)
    started = browser.get("/login/sso/start", params={"email": acme.people["operador"].email})
    state = httpx.URL(started.headers["location"]).params["state"]
    answer = {"state": state, "error": "access_denied", "error_description": "<b>no</b>"}
    told = browser.get(f"/login/sso/callback/{acme.id}", params=answer)
    assert told.status_code == 401
    assert "no autorizó" in told.text
    assert "<b>no</b>" not in told.text


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil.example"])
def test_nobody_is_led_elsewhere_afterwards(
    browser: httpx.Client, web: str, peer: Peer, acme: Company, target: str, urls: Urls
) -> None:
    connected(web, urls, acme, peer)
    person = acme.people["operador"]
    peer.person(person.email, email=person.email, email_verified=True)
    started = browser.get("/login/sso/start", params={"email": person.email, "next": target})
    arrived = browser.get(peer.visit(started.headers["location"], person.email))
    assert arrived.headers["location"] == "/console/inbox"


def test_the_login_page_knows_whose_provider_it_is_and_tells_nothing_else(
    browser: httpx.Client, web: str, peer: Peer, acme: Company, rival: Company, urls: Urls
) -> None:
    connected(web, urls, acme, peer, name="Acme & Cía <ID>")
    known = acme.people["operador"].email.upper()
    assert browser.get("/login/sso/offer", params={"email": known}).json() == {
        "name": "Acme & Cía <ID>"
    }
    nobody = f"nadie@{domain(acme)}"  # the domain decides, so who has a login is not told
    assert browser.get("/login/sso/offer", params={"email": nobody}).json()["name"]
    for other in (rival.people["operador"].email, "", "no address", "a@b\0.co", "x" * 1900):
        assert browser.get("/login/sso/offer", params={"email": other}).json() == {"name": None}
    page = browser.get("/login/sso", params={"email": known})
    assert "Continuar con Acme &amp; Cía &lt;ID&gt;" in page.text
    none = browser.get("/login/sso", params={"email": rival.people["operador"].email})
    assert none.status_code == 404
    assert "no hay un proveedor" in none.text
    assert browser.get("/login/sso").status_code == 200


def test_an_enforced_provider_takes_the_place_of_the_password_but_not_of_the_owner_s(
    browser: httpx.Client, web: str, peer: Peer, acme: Company, rival: Company, urls: Urls
) -> None:
    made = connected(web, urls, acme, peer)
    owner = token_of(web, acme, "owner")
    person = acme.people["operador"]
    told = {"email": person.email, "password": PASSWORD}
    assert httpx.post(f"{web}/v1/session", json=told).status_code == 201
    path = f"{web}/v1/sso-connections/{made['id']}"
    assert httpx.patch(path, json={"is_enforced": True}, headers=owner).status_code == 200
    refused = httpx.post(f"{web}/v1/session", json=told)
    assert (refused.status_code, refused.json()["code"]) == (401, "sso.required")
    assert "Acme ID" in refused.json()["detail"]
    wrong = httpx.post(f"{web}/v1/session", json=told | {"password": "otra"})
    assert wrong.json()["code"] == "accounts.wrong_login"  # nothing is told before it is right
    page = browser.post("/login", data=told)
    assert page.status_code == 401
    assert "Acme ID" in page.text
    assert token_of(web, acme, "owner")
    assert token_of(web, rival, "operador")
    peer.person(person.email, email=person.email, email_verified=True)
    assert sign_on(browser, peer, person.email, person.email).status_code == 303


def test_a_session_by_a_provider_leads_into_no_other_company_nor_into_the_login(
    browser: httpx.Client, web: str, peer: Peer, acme: Company, rival: Company, urls: Urls
) -> None:
    made = connected(web, urls, acme, peer)
    person = acme.people["supervisor"]
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "insert into users (company_id, auth_user_id, email, first_name, last_name, role)"
            " values (%s, %s, %s, 'Ana', 'Paz', 'administrador')",
            (rival.id, person.auth_user_id, f"ana@{domain(rival)}"),
        )
    peer.person(person.email, email=person.email, email_verified=True)
    assert sign_on(browser, peer, person.email, person.email).status_code == 303
    token = browser.cookies["neurant_session"]
    headers = {"authorization": f"Bearer {token}"}
    switched = httpx.post(
        f"{web}/v1/session/company", json={"company_id": str(rival.id)}, headers=headers
    )
    assert switched.status_code in (403, 404), switched.text
    with psycopg.connect(urls.admin) as db, pytest.raises(psycopg.Error) as refused:
        db.execute("select private.begin_factor(%s, '\\x00')", (digest(token),))
    assert refused.value.sqlstate == "NA006"
    owner = token_of(web, acme, "owner")
    httpx.delete(f"{web}/v1/sso-connections/{made['id']}", headers=owner)
    again = httpx.post(
        f"{web}/v1/session/company", json={"company_id": str(acme.id)}, headers=headers
    )
    assert again.status_code == 401, again.text
