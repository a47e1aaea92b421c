"""A browser that a person used before is no stranger; a cookie that says so is ours, or worth nothing."""

from __future__ import annotations

import httpx
import pytest

from neurant.installation.embedded import Urls
from tests.accounts.sent_mails import PASSWORD
from tests.companies import Company, make_company

pytest_plugins = ("tests.console.running_web",)
COOKIE = "neurant_device"


@pytest.fixture
def own(urls: Urls, known_password: str) -> Company:
    """A company of this test alone: its people are slowed down."""
    return make_company(urls.admin, "acme", password_hash=known_password)


def enter(client: httpx.Client, email: str, password: str = PASSWORD) -> httpx.Response:
    return client.post("/login", data={"email": email, "password": password})


def lock(client: httpx.Client, email: str) -> None:
    while enter(client, email, "adivino").status_code != 429:
        pass


def test_several_people_of_one_browser_stay_known_after_they_signed_out(
    web_url: str, nobody: httpx.Client, own: Company
) -> None:
    people = [own.people[role].email for role in ("owner", "supervisor", "operador")]
    with httpx.Client(base_url=web_url) as stranger:
        for email in people:
            assert enter(nobody, email).status_code == 303
            assert nobody.post("/logout").status_code == 303
        for email in people:
            lock(stranger, email)
            assert enter(nobody, email.upper()).status_code == 303
        assert enter(stranger, people[0]).status_code == 429


def test_the_cookie_is_kept_from_scripts_for_a_year_and_a_changed_one_is_worth_nothing(
    web_url: str, nobody: httpx.Client, own: Company, rival: Company
) -> None:
    mine, theirs = own.people["owner"].email, rival.people["owner"].email
    told = enter(nobody, mine).headers.get_list("set-cookie")
    [cookie] = [one.lower() for one in told if one.startswith(f"{COOKIE}=")]
    assert {"httponly", "samesite=lax", "max-age=31536000"} <= set(cookie.split("; "))
    number, signature = nobody.cookies[COOKIE].split(".")
    with httpx.Client(base_url=web_url) as stranger:
        lock(stranger, mine)
        enter(stranger, theirs)
        others = stranger.cookies[COOKIE].split(".")
        for forged in (
            f"{number}.{signature[:-1]}{'0' if signature[-1] != '0' else '1'}",
            f"{others[0]}.{signature}",
            f"{number}.{others[1]}",
            number,
            "x" * 4000,
            ".",
        ):
            with httpx.Client(base_url=web_url, cookies={COOKIE: forged}) as forger:
                assert enter(forger, mine).status_code == 429, forged
        with httpx.Client(base_url=web_url, cookies={COOKIE: f"{number}.{signature}"}) as same:
            assert enter(same, mine).status_code == 303
