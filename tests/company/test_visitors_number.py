"""A company sets how many new conversations of visitors it takes in an hour."""

from __future__ import annotations

import html
import re
from collections.abc import Callable

import httpx
import psycopg
import pytest

from tests.companies import Company

pytest_plugins = ("tests.console.running_web",)
PAGE, API, FIELD = "/console/settings/company", "/v1/company", "visitor_conversations_per_hour"


def form_of(page: str) -> dict[str, str]:
    """What the page's form would send."""
    form = {
        html.unescape(name): html.unescape(value)
        for tag in re.findall(r"<input [^>]*>", page)
        for name in re.findall(r' name="([^"]*)"', tag)
        for value in re.findall(r' value="([^"]*)"', tag)
    }
    return form | {"industry": "health", "size": "2-10"}


@pytest.mark.parametrize("role", ["owner", "administrador"])
def test_owner_and_administrador_set_it_by_the_api_and_it_is_audited(
    sign_in: Callable[[Company, str], httpx.Client],
    acme: Company,
    database: psycopg.Connection,
    role: str,
) -> None:
    person = sign_in(acme, role)
    number = 40 if role == "owner" else 50
    answer = person.patch(API, json={FIELD: number})
    assert answer.status_code == 200, answer.text
    assert answer.json()[FIELD] == number
    assert answer.json()["plan_visitor_conversations_per_hour"] == 10_000
    [[changes]] = database.execute(
        "select details from audit_logs where company_id = %s and resource_type = 'companies'"
        " order by created_at desc limit 1",
        (acme.id,),
    ).fetchall()
    assert str(number) in str(changes)
    assert FIELD in str(changes)
    assert person.patch(API, json={FIELD: None}).json()[FIELD] is None


@pytest.mark.parametrize("role", ["supervisor", "operador"])
def test_nobody_else_sets_it(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, rival: Company, role: str
) -> None:
    assert sign_in(acme, role).patch(API, json={FIELD: 1}).status_code == 403
    assert sign_in(rival, "owner").get(API).json()[FIELD] is None


@pytest.mark.parametrize("number", [0, -1, 100_001, "many", 1.5, True, [], {}])
def test_a_number_that_makes_no_sense_is_refused(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, number: object
) -> None:
    answer = sign_in(acme, "owner").patch(API, json={FIELD: number})
    assert answer.status_code == 422
    assert FIELD in answer.json()["detail"]


def test_the_database_refuses_it_too(acme: Company, database: psycopg.Connection) -> None:
    for number in (0, 100_001):
        with pytest.raises(psycopg.errors.CheckViolation):
            database.execute(f"update companies set {FIELD} = %s", (number,))


def test_the_page_shows_and_saves_it(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company
) -> None:
    owner = sign_in(acme, "owner")
    page = owner.get(PAGE).text
    assert "Conversaciones nuevas del chat web por hora" in page
    for typed, stored in (("25", 25), ("", None)):
        form = form_of(owner.get(PAGE).text) | {FIELD: typed}
        answer = owner.post(PAGE, data=form)
        assert answer.status_code == 303, answer.text
        assert owner.get(API).json()[FIELD] == stored
    refused = owner.post(PAGE, data=form_of(owner.get(PAGE).text) | {FIELD: "0"})
    assert refused.status_code == 422
    assert "Conversaciones nuevas del chat web por hora" in refused.text
    assert owner.get(API).json()[FIELD] is None


def test_the_notification_says_the_number_and_leads_to_the_setting(
    sign_in: Callable[[Company, str], httpx.Client], acme: Company, database: psycopg.Connection
) -> None:
    database.execute(
        "select private.notify_users(%s, '{owner}', 'visitors_full', '{\"number\": 40}')",
        (acme.id,),
    )
    owner = sign_in(acme, "owner")
    [told] = owner.get("/v1/notifications?kind=visitors_full").json()["data"]
    assert "40 conversaciones nuevas" in told["text"]
    opened = owner.post("/console/notifications/open", data={"notification_id": told["id"]})
    assert opened.headers["location"] == PAGE
