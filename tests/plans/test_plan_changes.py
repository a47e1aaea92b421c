"""Plans: up at once, down at the end of the month if everything fits, and alerts once a month."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import ROLES, Company, make_company
from tests.plans.sql_as_role import (
    add_bot,
    call_as,
    counters,
    limit,
    query_as_admin,
    recount,
    staff,
    used,
)

CHANGE = "select private.change_plan(%s, %s)"
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def acme(urls: Urls) -> Company:
    """A company on plan starter whose month begins on the 31st, in Bogotá."""
    return on_plan(urls, "acme", "starter")


@pytest.fixture
def rival(urls: Urls) -> Company:
    return on_plan(urls, "rival", "starter")


def on_plan(urls: Urls, name: str, plan: str) -> Company:
    company = make_company(urls.admin, name)
    query_as_admin(urls, "select private.apply_plan(%s, %s)", company.id, plan)
    query_as_admin(
        urls,
        "update companies set monthly_reset_date = '2026-01-31', monthly_anchor_day = 31 where id = %s",
        company.id,
    )
    return company


def plan_of(urls: Urls, company: Company) -> tuple[str, str | None, datetime | None]:
    [row] = query_as_admin(
        urls,
        "select subscription_plan::text, next_plan::text, plan_change_scheduled_at"
        " from companies where id = %s",
        company.id,
    )
    return row


def confirm(urls: Urls, company: Company, plan: str) -> str:
    """As whoever bills."""
    with psycopg.connect(urls.app) as db:
        return db.execute("select private.confirm_plan(%s, %s)", (company.id, plan)).fetchone()[0]


def apply_due(urls: Urls, now: datetime) -> None:
    with psycopg.connect(urls.jobs) as db:
        db.execute("select private.apply_due_plan_changes(%s)", (now,))


def notifications_of(urls: Urls, company: Company, kind: str) -> list[tuple[str, dict[str, Any]]]:
    return query_as_admin(
        urls,
        "select u.role::text, n.details from notifications n"
        " join users u on u.company_id = n.company_id and u.id = n.user_id"
        " where n.company_id = %s and n.kind = %s order by n.id, u.role",
        company.id,
        kind,
    )


def fit_into_free(urls: Urls, company: Company) -> None:
    """One bot on the web and two people, and nothing else."""
    telegram = "update channel_accounts set status = 'disconnected' where routing_id = %s"
    query_as_admin(urls, telegram, company.telegram)
    for role in ("operador", "supervisor"):
        person = company.people[role].id
        call_as(urls, company, "owner", "select private.set_user_active(%s, false)", person)


def test_an_upgrade_gives_the_plans_limits_once_it_is_confirmed(
    urls: Urls, acme: Company, rival: Company
) -> None:
    assert call_as(urls, acme, "owner", CHANGE, "professional", NOW) == "requested"
    assert plan_of(urls, acme)[0] == "starter"
    assert confirm(urls, acme, "professional") == "confirmed"
    [limits] = query_as_admin(
        urls,
        "select (c.monthly_message_limit, c.max_chatbots, c.max_users, c.max_integrations,"
        " c.max_document_characters, c.max_storage_mb, c.max_hitl_concurrent) ="
        " (p.monthly_message_limit, p.max_chatbots, p.max_users, p.max_integrations,"
        " p.max_document_characters, p.max_storage_mb, p.max_hitl_concurrent)"
        " and c.plan_changed_at is not null"
        " from companies c join plans p on p.plan = c.subscription_plan"
        " where c.id = %s and p.plan = 'professional'",
        acme.id,
    )
    assert limits == (True,)
    assert plan_of(urls, rival)[0] == "starter"


def test_only_the_owner_changes_the_plan(urls: Urls, acme: Company) -> None:
    for role in ROLES[1:]:
        assert call_as(urls, acme, role, CHANGE, "professional", NOW) == "forbidden"
        assert call_as(urls, acme, role, "select private.cancel_plan_change()") == "forbidden"
    assert plan_of(urls, acme)[:2] == ("starter", None)


def test_a_plan_without_a_price_is_not_sold_by_a_click(urls: Urls, acme: Company) -> None:
    assert call_as(urls, acme, "owner", CHANGE, "enterprise", NOW) == "not_for_sale"
    assert call_as(urls, acme, "owner", CHANGE, "starter", NOW) == "unchanged"
    assert plan_of(urls, acme)[:2] == ("starter", None)


@pytest.mark.parametrize(
    ("asked", "begins"),
    [
        (datetime(2026, 1, 31, 12, tzinfo=UTC), (2026, 2, 28)),
        (datetime(2026, 2, 28, 4, tzinfo=UTC), (2026, 2, 28)),  # still the 27th in Bogotá
        (datetime(2026, 2, 28, 6, tzinfo=UTC), (2026, 3, 31)),
        (datetime(2026, 4, 30, 6, tzinfo=UTC), (2026, 5, 31)),
        (datetime(2028, 2, 1, tzinfo=UTC), (2028, 2, 29)),
        (datetime(2026, 12, 31, 6, tzinfo=UTC), (2027, 1, 31)),
    ],
)
def test_a_smaller_plan_begins_with_the_companys_next_month(
    urls: Urls, acme: Company, asked: datetime, begins: tuple[int, int, int]
) -> None:
    assert call_as(urls, acme, "owner", CHANGE, "free", asked) == "scheduled"
    plan, following, at = plan_of(urls, acme)
    assert (plan, following) == ("starter", "free")
    assert at == datetime(*begins, tzinfo=ZoneInfo("America/Bogota"))
    assert used(urls, acme, "max_chatbots")[1] == 2  # nothing changes until then


def test_a_scheduled_change_can_be_taken_back_and_an_upgrade_ends_it(
    urls: Urls, acme: Company
) -> None:
    cancel = "select private.cancel_plan_change()"
    assert call_as(urls, acme, "owner", cancel) == "nothing_scheduled"
    call_as(urls, acme, "owner", CHANGE, "free", NOW)
    assert call_as(urls, acme, "owner", cancel) == "cancelled"
    call_as(urls, acme, "owner", CHANGE, "free", NOW)
    assert call_as(urls, acme, "owner", CHANGE, "professional", NOW) == "requested"
    assert plan_of(urls, acme)[:2] == ("starter", "free")
    assert confirm(urls, acme, "professional") == "confirmed"
    assert plan_of(urls, acme) == ("professional", None, None)


def test_a_due_change_begins_when_the_use_fits_and_not_a_moment_before(
    urls: Urls, acme: Company, rival: Company
) -> None:
    fit_into_free(urls, acme)
    for company in (acme, rival):
        call_as(urls, company, "owner", CHANGE, "free", NOW)
    due = plan_of(urls, acme)[2]
    assert due
    apply_due(urls, due - timedelta(seconds=1))
    assert plan_of(urls, acme)[:2] == ("starter", "free")
    apply_due(urls, due)
    assert plan_of(urls, acme) == ("free", None, None)
    assert notifications_of(urls, acme, "plan_changed") == [
        ("owner", {"plan": "free"}),
        ("administrador", {"plan": "free"}),
    ]
    assert plan_of(urls, rival)[:2] == ("starter", "free")  # four people do not fit in two seats


def test_a_change_that_does_not_fit_is_notified_once_a_month_waits_and_then_begins(
    urls: Urls, acme: Company
) -> None:
    call_as(urls, acme, "owner", CHANGE, "free", NOW)
    due = plan_of(urls, acme)[2]
    assert due
    for _ in range(3):
        apply_due(urls, due + timedelta(hours=1))
    waits = notifications_of(urls, acme, "plan_change_waits")
    assert waits == [
        ("owner", {"plan": "free", "limits": ["max_users", "channels"]}),
        ("administrador", {"plan": "free", "limits": ["max_users", "channels"]}),
    ]
    apply_due(urls, due + timedelta(days=32))
    assert len(notifications_of(urls, acme, "plan_change_waits")) == 4
    fit_into_free(urls, acme)
    apply_due(urls, due + timedelta(days=33))
    assert plan_of(urls, acme) == ("free", None, None)


def test_a_downgrade_that_races_with_inserts_never_ends_over_the_limit(urls: Urls) -> None:
    for attempt in range(6):
        acme = on_plan(urls, "acme", "business")
        limit(urls, acme, max_users=-1)
        limit(urls, acme, max_chatbots=2)
        call_as(urls, acme, "owner", CHANGE, "starter", NOW)  # two bots, three people
        call_as(
            urls,
            acme,
            "owner",
            "select private.set_user_active(%s, false)",
            acme.people["operador"].id,
        )
        query_as_admin(urls, "update plans set max_chatbots = 1 where plan = 'starter'")
        due = plan_of(urls, acme)[2]
        gate = threading.Barrier(2)

        def insert(company: Company = acme, gate: threading.Barrier = gate) -> None:
            gate.wait(10)
            try:
                with staff(urls, company, "owner") as db:
                    add_bot(db, company)
            except psycopg.Error as error:
                assert error.sqlstate == "NA002"  # noqa: PT017

        def downgrade(gate: threading.Barrier = gate, due: datetime | None = due) -> None:
            gate.wait(10)
            assert due
            apply_due(urls, due)

        pair = [threading.Thread(target=insert), threading.Thread(target=downgrade)]
        try:
            for thread in pair if attempt % 2 else reversed(pair):
                thread.start()
            for thread in pair:
                thread.join(30)
            assert due
            apply_due(urls, due)  # what somebody held at that moment comes at the next turn
            bots, allowed, _ = used(urls, acme, "max_chatbots", "owner")
            plan = plan_of(urls, acme)[0]
        finally:
            query_as_admin(urls, "update plans set max_chatbots = 2 where plan = 'starter'")
        assert bots <= allowed
        assert (plan, bots) in {("starter", 1), ("business", 2)}
        assert counters(urls, acme) == recount(urls, acme)


def alert(urls: Urls, now: datetime) -> None:
    with psycopg.connect(urls.jobs) as db:
        db.execute("select private.raise_usage_alerts(%s)", (now,))


def levels(urls: Urls, company: Company) -> list[tuple[str, str, int]]:
    return [
        (role, details["limit"], details["level"])
        for role, details in notifications_of(urls, company, "usage_alert")
    ]


def test_80_and_95_percent_are_notified_once_each_and_again_in_the_next_month(urls: Urls) -> None:
    acme, rival = make_company(urls.admin, "acme"), make_company(urls.admin, "rival")
    limit(urls, acme, max_chatbots=20)
    limit(urls, rival, max_chatbots=20)
    now = datetime.now(UTC)

    def grow(bots: int) -> None:
        with staff(urls, acme, "owner") as db:
            for _ in range(bots - counters(urls, acme)[0]):
                add_bot(db, acme)

    both = ["owner", "administrador"]
    grow(15)
    alert(urls, now)
    assert levels(urls, acme) == []
    grow(16)
    for _ in range(3):
        alert(urls, now)
    assert levels(urls, acme) == [(role, "max_chatbots", 80) for role in both]
    grow(19)
    for _ in range(3):
        alert(urls, now)
    assert levels(urls, acme)[2:] == [(role, "max_chatbots", 95) for role in both]
    alert(urls, now + timedelta(days=32))
    # Both levels are passed already: one line tells it.
    assert levels(urls, acme)[4:] == [(role, "max_chatbots", 95) for role in both]
    assert levels(urls, rival) == []


def test_workers_that_alert_at_once_tell_it_once(urls: Urls) -> None:
    acme = make_company(urls.admin, "acme")
    limit(urls, acme, max_chatbots=1)
    gate = threading.Barrier(8)

    def run() -> None:
        gate.wait(10)
        alert(urls, datetime.now(UTC))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert levels(urls, acme) == [
        ("owner", "max_chatbots", 95),
        ("administrador", "max_chatbots", 95),
    ]


def test_nobody_sees_another_companys_alerts(urls: Urls) -> None:
    acme, rival = make_company(urls.admin, "acme"), make_company(urls.admin, "rival")
    limit(urls, acme, max_chatbots=1)
    alert(urls, datetime.now(UTC))
    count = "select count(*) from plan_alerts"
    assert call_as(urls, acme, "owner", count) == 2
    assert call_as(urls, acme, "supervisor", count) == 0
    assert call_as(urls, rival, "owner", count) == 0
