"""A forgotten password: a link that works once, and answers that tell nobody who has an account."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import httpx
import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.accounts.sent_mails import (
    PASSWORD,
    advance_one_hour,
    begin_sign_up,
    new_address,
    sent_mails,
    sign_in,
)
from tests.companies import Company, make_company

pytest_plugins = ("tests.console.running_web",)
NEW = "otra-frase-bien-larga"


@pytest.fixture
def own(urls: Urls, known_password: str) -> Company:
    """A company of this test alone: passwords change here."""
    return make_company(urls.admin, "acme", password_hash=known_password)


def ask(client: httpx.Client, email: str) -> httpx.Response:
    return client.post("/v1/password-resets", json={"email": email})


def mailed_link(client: httpx.Client, database: psycopg.Connection, email: str) -> str:
    assert ask(client, email).status_code == 202
    letter = sent_mails(database, email)[-1]
    assert letter.template == "accounts.reset_password"
    return letter.link


def reset(client: httpx.Client, link: str, password: str = NEW) -> httpx.Response:
    return client.post("/v1/password-resets/confirm", json={"token": link, "password": password})


def test_the_link_sets_a_password_and_ends_every_session(
    nobody: httpx.Client, database: psycopg.Connection, own: Company, rival: Company
) -> None:
    email = own.people["owner"].email
    before, others = sign_in(nobody, email), sign_in(nobody, rival.people["owner"].email)
    assert reset(nobody, mailed_link(nobody, database, email.upper().lower())).status_code == 204
    assert nobody.get("/v1/session", headers=before).status_code == 401
    assert nobody.get("/v1/session", headers=others).status_code == 200
    old = nobody.post("/v1/session", json={"email": email, "password": PASSWORD})
    assert old.json()["code"] == "accounts.wrong_login"
    assert sign_in(nobody, email, NEW)
    assert sent_mails(database, email)[-1].template == "accounts.password_changed"


def test_a_used_link_is_reported_and_the_ones_before_it_are_over_too(
    nobody: httpx.Client, database: psycopg.Connection, own: Company
) -> None:
    email = own.people["supervisor"].email
    first = mailed_link(nobody, database, email)
    advance_one_hour(database)
    second = mailed_link(nobody, database, email)
    assert reset(nobody, second).status_code == 204
    for link in (second, first):
        again = reset(nobody, link, "una-tercera-frase")
        assert (again.status_code, again.json()["code"]) == (410, "accounts.reset_used")
        page = nobody.get("/reset", params={"link": link})
        assert page.status_code == 410
        assert "ya se usó" in page.text
    assert sign_in(nobody, email, NEW)


def test_of_two_who_use_one_link_at_once_one_wins(
    nobody: httpx.Client, database: psycopg.Connection, own: Company
) -> None:
    email = own.people["operador"].email
    link = mailed_link(nobody, database, email)
    passwords = [f"frase-numero-{number}-larga" for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda one: reset(nobody, link, one), passwords))
    assert sorted(answer.status_code for answer in answers) == [204, 410, 410, 410]
    [winner] = [p for p, answer in zip(passwords, answers, strict=True) if answer.is_success]
    assert sign_in(nobody, email, winner)


def test_old_and_forged_links_and_weak_passwords_change_nothing(
    nobody: httpx.Client, database: psycopg.Connection, own: Company
) -> None:
    email = own.people["administrador"].email
    link = mailed_link(nobody, database, email)
    for forged in ("", "x", link[:-1], link.swapcase(), "á" * 80):
        answer = reset(nobody, forged)
        assert (answer.status_code, answer.json()["code"]) == (404, "accounts.reset_unknown")
    weak = reset(nobody, link, "1234567890")
    assert (weak.status_code, weak.json()["code"]) == (422, "accounts.weak_password")
    database.execute(
        "update password_resets set expires_at = now() where token_digest = %s",
        (sha256(link.encode()).digest(),),
    )
    answer = reset(nobody, link)
    assert (answer.status_code, answer.json()["code"]) == (410, "accounts.reset_expired")
    assert sign_in(nobody, email)


def test_an_address_without_an_account_is_answered_the_same_and_as_slowly(
    nobody: httpx.Client, database: psycopg.Connection, own: Company
) -> None:
    known, unknown = own.people["owner"].email, new_address("nadie")
    answers, took = [], []
    for email in (known, unknown):
        begun = time.monotonic()
        answers.append(ask(nobody, email))
        took.append(time.monotonic() - begun)
        answers.append(ask(nobody, email))
    assert [answer.status_code for answer in answers] == [202] * 4
    assert answers[0].content == answers[2].content
    assert min(took) >= 0.15
    assert sent_mails(database, unknown) == []
    assert len(sent_mails(database, known)) == 1  # its link works: nothing more is needed
    assert ask(nobody, "no es un correo").status_code == 422
    pages = [nobody.post("/forgot", data={"email": new_address()}).text for _ in range(2)]
    assert all("Revisa tu correo" in page for page in pages)


def test_nobody_takes_the_link_away_from_a_person(
    nobody: httpx.Client, database: psycopg.Connection, own: Company
) -> None:
    """A stranger signs up with their address, and asks for links, as often as it goes."""
    email = own.people["administrador"].email
    for _ in range(5):
        assert begin_sign_up(nobody, email).status_code == 202
        database.execute(
            "update account_brakes set mailed_at = array(select m - interval '2 minutes'"
            " from unnest(mailed_at) m) where mailed_at <> '{}'"
        )
    assert begin_sign_up(nobody, email).status_code == 429
    assert sent_mails(database, email)[-1].template == "accounts.already_registered"
    link = mailed_link(nobody, database, email)
    for _ in range(7):
        assert ask(nobody, email).status_code == 202
    assert sent_mails(database, email)[-1].link == link
    assert reset(nobody, link).status_code == 204
    # The link is used, and with it the brake is over: one who needs another has it at once.
    again = mailed_link(nobody, database, email)
    assert again != link
    assert reset(nobody, again, PASSWORD).status_code == 204


def test_who_chose_a_new_password_gets_in_whatever_strangers_try(
    nobody: httpx.Client, database: psycopg.Connection, own: Company
) -> None:
    email = own.people["supervisor"].email
    form = {"email": email, "password": NEW}
    link = mailed_link(nobody, database, email)
    for _ in range(6):
        slow = nobody.post("/login", data={"email": email, "password": "adivino"})
    assert slow.status_code == 429
    with httpx.Client(base_url=nobody.base_url) as stranger:
        assert stranger.post("/login", data=form).status_code == 429
        answer = nobody.post("/reset", data={"link": link, "password": NEW})
        assert answer.headers["location"] == "/login?changed=1"
        assert stranger.post("/login", data=form).status_code == 429
        assert nobody.post("/login", data=form).status_code == 303
        # Nor does the cookie of somebody else open what it was not made for.
        colleague = {"email": own.people["owner"].email, "password": "adivino"}
        for _ in range(5):
            assert stranger.post("/login", data=colleague).status_code == 401
        assert nobody.post("/login", data=colleague | {"password": PASSWORD}).status_code == 429


def test_only_the_digest_of_a_link_is_kept(
    nobody: httpx.Client, database: psycopg.Connection, own: Company
) -> None:
    link = mailed_link(nobody, database, own.people["owner"].email)
    rows = database.execute("select token_digest from password_resets").fetchall()
    assert (sha256(link.encode()).digest(),) in rows
    assert all(link.encode() not in bytes(digest) for (digest,) in rows)


def test_the_page_sets_the_password_and_leads_to_the_login(
    nobody: httpx.Client, database: psycopg.Connection, own: Company
) -> None:
    email = own.people["owner"].email
    link = mailed_link(nobody, database, email)
    page = nobody.get("/reset", params={"link": link})
    assert email in page.text
    assert page.headers["referrer-policy"] == "no-referrer"
    assert nobody.post("/reset", data={"link": link, "password": "corta"}).status_code == 422
    cross = {"Sec-Fetch-Site": "cross-site"}
    form = {"link": link, "password": NEW}
    assert nobody.post("/reset", data=form, headers=cross).status_code == 403
    done = nobody.post("/reset", data=form)
    assert (done.status_code, done.headers["location"]) == (303, "/login?changed=1")
    assert "Tu contraseña cambió" in nobody.get("/login?changed=1").text
