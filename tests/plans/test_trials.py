"""A company on the free plan tries another once, and nobody but its owner begins that."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company
from tests.plans.sql_as_role import call_as, query_as_admin

pytest_plugins = ("tests.console.running_web",)
TRY = "select private.start_trial('starter', 14)"
STATE = (
    "select subscription_plan::text, subscription_status::text, trial_started_at is not null,"
    " subscription_ends_at - now() between interval '13 days' and interval '14 days'"
    " from companies where id = %s"
)
FREE = [("free", "active", False, None)]


def on_free(urls: Urls, name: str, password_hash: str = "!") -> Company:
    company = make_company(urls.admin, name, password_hash=password_hash)
    query_as_admin(urls, "select private.apply_plan(%s, 'free')", company.id)
    return company


def test_the_owner_tries_a_plan_once_and_it_ends_by_itself(urls: Urls) -> None:
    acme, rival = on_free(urls, "acme"), on_free(urls, "rival")
    for role in ("administrador", "supervisor", "operador"):
        assert call_as(urls, acme, role, TRY) == "forbidden"
    assert call_as(urls, acme, "owner", TRY) == "started"
    assert query_as_admin(urls, STATE, acme.id) == [("starter", "trialing", True, True)]
    assert call_as(urls, acme, "owner", TRY) == "tried_before"
    assert query_as_admin(urls, STATE, rival.id) == FREE


@pytest.mark.parametrize(
    ("plan", "days", "outcome"),
    [("free", 14, "nothing_to_try"), ("business", 14, "not_for_sale"), ("enterprise", 1, "not_for_sale")],
)  # fmt: skip
def test_what_cannot_be_tried_is_reported(urls: Urls, plan: str, days: int, outcome: str) -> None:
    acme = on_free(urls, "acme")
    query = "select private.start_trial(%s::subscription_plan_enum, %s)"
    if plan == "free":  # it has no price to be spared
        outcome = call_as(urls, acme, "owner", query, plan, days)
        assert outcome in ("nothing_to_try", "not_for_sale")
    else:
        assert call_as(urls, acme, "owner", query, plan, days) == outcome
    assert query_as_admin(urls, STATE, acme.id) == FREE


@pytest.mark.parametrize("days", [0, -1, 31])
def test_a_trial_lasts_a_day_to_thirty(urls: Urls, days: int) -> None:
    acme = on_free(urls, "acme")
    with pytest.raises(psycopg.errors.CheckViolation):
        call_as(urls, acme, "owner", "select private.start_trial('starter', %s)", days)


def test_of_two_at_once_one_begins(urls: Urls) -> None:
    acme = on_free(urls, "acme")
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda _: call_as(urls, acme, "owner", TRY), range(8)))
    assert sorted(outcomes) == ["started"] + ["tried_before"] * 7


def test_the_console_offers_it_while_there_is_one(
    urls: Urls, sign_in: Callable[[Company, str], httpx.Client], known_password: str
) -> None:
    acme = on_free(urls, "acme", known_password)
    owner = sign_in(acme, "owner")
    assert "Probar Starter 14 días gratis" in owner.get("/console/plan/choose/starter").text
    refused = sign_in(acme, "administrador").post("/console/plan/try", data={"plan": "starter"})
    assert refused.status_code == 403
    begun = owner.post("/console/plan/try", data={"plan": "starter"})
    assert (begun.status_code, begun.headers["location"]) == (303, "/console/plan")
    assert query_as_admin(urls, STATE, acme.id) == [("starter", "trialing", True, True)]
    assert "días gratis" not in owner.get("/console/plan/choose/professional").text
    assert "Tu prueba termina ahora mismo" in owner.get("/console/plan/choose/free").text
    again = owner.post("/v1/subscription/trial", json={"plan": "professional"})
    assert (again.status_code, again.json()["code"]) == (409, "billing.tried_before")
