"""Signing in and out, seen from outside."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import psycopg
import pytest

from tests.companies import Company
from tests.console.people import PASSWORD

pytest_plugins = ("tests.console.running_web",)


def enter(client: httpx.Client, email: str, password: str, **more: str) -> httpx.Response:
    return client.post("/login", data={"email": email, "password": password, **more})


def test_the_right_password_opens_the_inbox(nobody: httpx.Client, acme: Company) -> None:
    answer = enter(nobody, acme.people["operador"].email.upper(), PASSWORD)
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/inbox")
    assert nobody.get("/console/inbox").status_code == 200


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(
    nobody: httpx.Client, acme: Company
) -> None:
    cookie, _device = (
        one.lower()
        for one in enter(nobody, acme.people["operador"].email, PASSWORD).headers.get_list(
            "set-cookie"
        )
    )
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "max-age" not in cookie  # only "keep me signed in" outlives the browser
    kept = enter(nobody, acme.people["operador"].email, PASSWORD, keep="yes")
    assert "max-age=2592000" in kept.headers["set-cookie"].lower()


def test_an_unknown_address_is_refused_exactly_like_a_wrong_password(
    nobody: httpx.Client, acme: Company
) -> None:
    known, unknown = acme.people["supervisor"].email, "nadie@acme.example"
    wrong = enter(nobody, known, "otra")
    missing = enter(nobody, unknown, "otra")
    assert wrong.status_code == missing.status_code == 401
    assert wrong.text.replace(known, "") == missing.text.replace(unknown, "")
    assert "no coinciden" in wrong.text
    assert "set-cookie" not in wrong.headers


def test_the_token_itself_is_not_in_the_database(
    nobody: httpx.Client, acme: Company, database: psycopg.Connection
) -> None:
    enter(nobody, acme.people["owner"].email, PASSWORD)
    token = nobody.cookies["neurant_session"]
    stored = database.execute("select token_digest from login_sessions").fetchall()
    assert all(token.encode() not in bytes(digest) for (digest,) in stored)


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "\n//x"],
)
def test_after_the_login_nobody_is_led_to_another_site(
    nobody: httpx.Client, acme: Company, target: str
) -> None:
    answer = enter(nobody, acme.people["operador"].email, PASSWORD, next=target)
    assert answer.headers["location"] == "/console/inbox"


def test_a_page_without_a_session_leads_to_the_login_and_back(nobody: httpx.Client) -> None:
    answer = nobody.get("/console/knowledge?x=1")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=/console/knowledge%3Fx%3D1"


def test_signing_out_ends_the_session_for_whoever_copied_it(
    nobody: httpx.Client, acme: Company
) -> None:
    enter(nobody, acme.people["operador"].email, PASSWORD)
    copied = dict(nobody.cookies)
    assert nobody.post("/logout").headers["location"] == "/login"
    nobody.cookies.update(copied)
    assert nobody.get("/console/inbox").status_code == 303


def test_a_deactivated_person_is_out_at_once(
    nobody: httpx.Client, acme: Company, database: psycopg.Connection
) -> None:
    person = acme.people["administrador"]
    enter(nobody, person.email, PASSWORD)
    assert nobody.get("/console/inbox").status_code == 200
    database.execute("update users set is_active = false where id = %s", (person.id,))
    try:
        # The login is theirs still, and may found a company of its own; acme's is out of reach.
        for answer in (nobody.get("/console/inbox"), enter(nobody, person.email, PASSWORD)):
            assert answer.status_code == 303
            assert answer.headers["location"] in ("/console/companies", "/onboarding")
        assert nobody.get("/console/inbox").headers["location"] == "/console/companies"
        assert f"Ya no tienes acceso a {acme.name}" in nobody.get("/console/companies").text
    finally:
        database.execute("update users set is_active = true where id = %s", (person.id,))


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_another_sites_form_changes_nothing(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, headers: dict[str, str]
) -> None:
    client = sign_in(acme, "operador")
    assert client.post("/logout", headers=headers).status_code == 403
    assert client.get("/console/inbox").status_code == 200


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_our_own_form_is_accepted(nobody: httpx.Client, acme: Company, site: str) -> None:
    form = {"email": acme.people["operador"].email, "password": PASSWORD}
    assert nobody.post("/login", data=form, headers={"Sec-Fetch-Site": site}).status_code == 303


def test_a_bearer_token_serves_where_the_cookie_does(nobody: httpx.Client, acme: Company) -> None:
    credentials = {"email": acme.people["supervisor"].email, "password": PASSWORD}
    answer = nobody.post("/v1/session", json=credentials)
    assert answer.status_code == 201
    bearer = {"Authorization": f"Bearer {answer.json()['token']}"}
    path = f"/v1/documents?chatbot_id={acme.bot_id}"
    assert nobody.get(path).status_code == 401
    assert nobody.get(path, headers=bearer).status_code == 200
    assert nobody.delete("/v1/session", headers=bearer).status_code == 204
    refused = nobody.get(path, headers=bearer)
    assert refused.status_code == 401
    assert refused.json()["code"] == "accounts.session_expired"


def test_wrong_credentials_for_the_api_are_a_problem_document(nobody: httpx.Client) -> None:
    answer = nobody.post("/v1/session", json={"email": "a@b.co", "password": "x"})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "accounts.wrong_login"


def test_guessing_is_slowed_down_and_the_page_says_how_long(
    nobody: httpx.Client, rival: Company
) -> None:
    email = rival.people["supervisor"].email
    for _ in range(5):
        assert enter(nobody, email, "adivino").status_code == 401
    slow = enter(nobody, email, PASSWORD)
    assert slow.status_code == 429
    assert f"Espera {slow.headers['retry-after']} s" in slow.text
    assert 0 < int(nobody.post("/v1/session", json={"email": email, "password": PASSWORD}).json()["detail"].split("Espera ")[1].split()[0]) <= 5  # fmt: skip


@pytest.mark.parametrize("text", ["\0", "á" * 5000, "' or 1=1 --"])
def test_strange_credentials_are_refused_like_any_other(nobody: httpx.Client, text: str) -> None:
    assert enter(nobody, f"{text}@x.co", text).status_code == 401
