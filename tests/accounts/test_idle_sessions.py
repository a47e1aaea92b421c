"""Sessions that nobody uses end; use keeps them, up to the absolute end; pages that ask by themselves do not."""

from __future__ import annotations

import html

import httpx
import psycopg
import pytest

from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from tests.accounts.sent_mails import sign_in
from tests.companies import Company, make_company
from tests.console.people import PASSWORD

pytest_plugins = ("tests.console.running_web",)


@pytest.fixture
def own(urls: Urls, known_password: str) -> Company:
    return make_company(urls.admin, "acme", password_hash=known_password)


def pass_time(database: psycopg.Connection, company: Company, minutes: int) -> None:
    """As if nothing had happened for so long, to every session of the company's people."""
    whose = "select auth_user_id from users where company_id = %(company)s"
    with database.transaction():
        database.execute("set local session_replication_role = replica")  # no trigger moves an end
        for table, owner in (
            ("auth_sessions", f"auth_user_id in ({whose})"),
            ("login_sessions", "company_id = %(company)s"),
        ):
            past = "- make_interval(mins => %(minutes)s)"
            database.execute(
                f"update {table} set last_seen_at = last_seen_at {past}, ends_at = ends_at {past},"
                f" expires_at = expires_at {past} where {owner}",
                {"minutes": minutes, "company": company.id},
            )


def enter(client: httpx.Client, company: Company, **more: str) -> None:
    form = {"email": company.people["owner"].email, "password": PASSWORD, **more}
    assert client.post("/login", data=form).status_code == 303


def test_who_does_nothing_for_an_hour_is_shown_why_they_sign_in_again(
    nobody: httpx.Client, own: Company, database: psycopg.Connection
) -> None:
    enter(nobody, own)
    pass_time(database, own, 59)
    assert nobody.get("/console/inbox").status_code == 200
    pass_time(database, own, 61)
    away = nobody.get("/console/inbox")
    assert (away.status_code, "idle=1" in away.headers["location"]) == (303, True)
    page = html.unescape(nobody.get(away.headers["location"]).text)
    assert "Tu sesión terminó por inactividad" in page
    # Over is over: asking again does not bring it back.
    assert nobody.get("/console/inbox").status_code == 303
    assert nobody.get("/console/account").status_code == 303


def test_a_token_of_the_api_has_a_week(
    nobody: httpx.Client, own: Company, database: psycopg.Connection
) -> None:
    mine = sign_in(nobody, own.people["owner"].email)
    pass_time(database, own, 7 * 24 * 60 - 5)
    assert nobody.get("/v1/canned-responses", headers=mine).status_code == 200
    pass_time(database, own, 7 * 24 * 60 + 5)
    assert nobody.get("/v1/canned-responses", headers=mine).status_code == 401


@pytest.mark.parametrize("path", ["/v1/session", "/v1/account/sessions", "/v1/company", "/v1/canned-responses"])  # fmt: skip
def test_a_token_that_nobody_used_opens_nothing(
    nobody: httpx.Client, own: Company, database: psycopg.Connection, path: str
) -> None:
    enter(nobody, own)
    assert nobody.get(path).status_code == 200
    pass_time(database, own, 61)
    answer = nobody.get(path)
    assert (answer.status_code, answer.json()["code"]) == (401, "accounts.session_expired")


def test_use_of_any_kind_keeps_all_of_the_session_up_to_its_absolute_end(
    nobody: httpx.Client, own: Company, database: psycopg.Connection
) -> None:
    enter(nobody, own)
    used = ["/v1/canned-responses", "/v1/account/sessions", "/v1/session"] * 5
    for turn, path in enumerate(used[:14]):  # 14 times 50 minutes: within twelve hours
        pass_time(database, own, 50)
        assert nobody.get(path).status_code == 200, (turn, path)
    pass_time(database, own, 50)
    for path in used[:3]:  # the twelve hours are over, however busy
        assert nobody.get(path).status_code == 401


def test_who_asked_to_stay_signed_in_has_a_week_without_use_and_thirty_days_in_all(
    nobody: httpx.Client, own: Company, database: psycopg.Connection
) -> None:
    enter(nobody, own, keep="yes")
    day = 24 * 60
    for _ in range(4):
        pass_time(database, own, 7 * day - 10)
        assert nobody.get("/console/inbox").status_code == 200
    pass_time(database, own, 3 * day)
    gone = nobody.get("/console/inbox")
    assert gone.status_code == 303
    assert "expired=1" in gone.headers["location"]


def test_what_a_page_fetches_by_itself_keeps_nobody_signed_in(
    nobody: httpx.Client, own: Company, database: psycopg.Connection
) -> None:
    enter(nobody, own)
    for _ in range(2):
        pass_time(database, own, 25)
        page = nobody.get("/console/inbox", headers={"Neurant-Passive": "1", "HX-Request": "true"})
        assert page.status_code == 200
        with nobody.stream("GET", "/console/inbox/stream") as stream:
            assert stream.status_code == 200
            assert next(stream.iter_lines())
    pass_time(database, own, 11)
    assert nobody.get("/console/inbox").status_code == 303


def test_the_inbox_says_of_itself_that_it_asks_alone(nobody: httpx.Client, own: Company) -> None:
    enter(nobody, own)
    page = html.unescape(nobody.get("/console/inbox").text)
    assert """hx-headers='{"Neurant-Passive": "1"}'""" in page


def test_the_installations_rule_holds_for_sessions_that_begin_from_then_on(
    own: Company, database: psycopg.Connection, nobody: httpx.Client
) -> None:
    assert Settings().session_idle_minutes == 60
    try:
        database.execute("select private.set_session_rules('10 minutes', '7 days')")
        enter(nobody, own)
        pass_time(database, own, 11)
        assert nobody.get("/v1/session").status_code == 401
    finally:
        database.execute("select private.set_session_rules('1 hour', '7 days')")


def test_a_session_of_whatever_opens_one_has_both_ends(urls: Urls, own: Company) -> None:
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "select private.open_login_session(%s, sha256('idle'), null, null, '30 days')",
            (own.people["operador"].auth_user_id,),
        )
        [rows] = db.execute(
            "select count(*) from (select idle_after, ends_at, expires_at from auth_sessions where token_digest = sha256('idle')"
            " union all select idle_after, ends_at, expires_at from login_sessions where token_digest = sha256('idle')) s"
            " where idle_after = '7 days' and expires_at = now() + interval '7 days' and ends_at = now() + interval '30 days'"
        ).fetchone()
        assert rows == 2
