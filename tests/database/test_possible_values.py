"""Values that cannot be, and states that contradict themselves, are refused by the database."""

from __future__ import annotations

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company


@pytest.fixture(scope="module")
def acme(urls: Urls) -> Company:
    return make_company(urls.admin, "acme")


def change(urls: Urls, table: str, what: str, company: Company) -> int:
    key = "id" if table == "companies" else "company_id"
    with psycopg.connect(urls.admin) as db:
        return db.execute(f"update {table} set {what} where {key} = %s", (company.id,)).rowcount


@pytest.mark.parametrize(
    "zone", ["<x>-167", "foo5", "Marte/Olimpo", "", "America/Bogota; drop", "EST5EDT4", "bogota"]
)
def test_a_time_zone_is_the_name_of_a_place(urls: Urls, acme: Company, zone: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation), psycopg.connect(urls.admin) as db:
        db.execute("update companies set timezone = %s where id = %s", (zone, acme.id))


@pytest.mark.parametrize(
    "zone", ["UTC", "America/Bogota", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "Asia/Tokyo"]
)
def test_every_place_has_one(urls: Urls, acme: Company, zone: str) -> None:
    with psycopg.connect(urls.admin) as db:
        done = db.execute("update companies set timezone = %s where id = %s", (zone, acme.id))
        assert done.rowcount == 1


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ("companies", "monthly_reset_date = 'infinity'"),
        (
            "companies",
            "subscription_started_at = now(), subscription_ends_at = now() - interval '1 day'",
        ),
        ("chatbots", "retired_at = now(), is_active = true"),
        ("chatbots", "working_hours = '[\"x\"]'"),
        ("chatbots", "personality_traits = '5'"),
        ("chatbots", "hitl_trigger_keywords = '{\"\"}'"),
    ],
)
def test_a_state_that_contradicts_itself_is_refused(
    urls: Urls, acme: Company, table: str, what: str
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        change(urls, table, what, acme)


def test_ordinary_states_are_taken(urls: Urls, acme: Company) -> None:
    assert change(urls, "chatbots", "working_hours = '{}', personality_traits = null", acme) == 1
