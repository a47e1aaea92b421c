"""Who reads the figures: those who run the company all of them, an operador those of his bots."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.analytics.facts import add_bot, add_conversation, roll_up
from tests.companies import Company, make_company

NOON = datetime(2026, 5, 4, 17, tzinfo=UTC)
Counted = tuple[Company, UUID]


@pytest.fixture(scope="module")
def companies(urls: Urls) -> tuple[Counted, Counted]:
    """Each with figures of two bots and of the company; the operador is assigned to the first."""
    made = []
    with (
        psycopg.connect(urls.admin, autocommit=True) as db,
        psycopg.connect(urls.jobs, autocommit=True) as jobs,
    ):
        for name in ("acme", "rival"):
            company = make_company(urls.admin, name)
            other = add_bot(db, company, "Otro")
            for bot in (company.bot_id, other):
                add_conversation(db, company, bot, NOON)
            assert roll_up(jobs, company) == 1
            made.append((company, other))
    return made[0], made[1]


def become(db: psycopg.Connection, company: Company, role: str) -> None:
    person = company.people[role]
    claims = {"sub": str(person.auth_user_id), "company_id": str(company.id)}
    db.execute(
        "select set_config('role', 'authenticated', true),"
        " set_config('request.jwt.claims', %s, true)",
        (json.dumps(claims),),
    )


@pytest.mark.parametrize("role", ["owner", "administrador", "supervisor"])
def test_those_above_see_every_bot_and_the_total_of_their_company_only(
    urls: Urls, companies: tuple[Counted, Counted], role: str
) -> None:
    for company, other in companies:
        with psycopg.connect(urls.app) as db:
            become(db, company, role)
            rows = db.execute("select company_id, chatbot_id from analytics_daily").fetchall()
        assert set(rows) == {(company.id, bot) for bot in (company.bot_id, other, None)}


def test_an_operador_sees_the_assigned_bots_and_no_total(
    urls: Urls, companies: tuple[Counted, Counted]
) -> None:
    for company, _ in companies:
        with psycopg.connect(urls.app) as db:
            become(db, company, "operador")
            rows = db.execute("select company_id, chatbot_id from analytics_daily").fetchall()
        assert rows == [(company.id, company.bot_id)]


@pytest.mark.parametrize("role", ["owner", "operador"])
@pytest.mark.parametrize(
    "statement",
    [
        "insert into analytics_daily (company_id, date) values (%(company)s, now())",
        "update analytics_daily set total_messages = 1 where company_id = %(company)s",
        "delete from analytics_daily where company_id = %(company)s",
        "select from analytics_dirty",
        "insert into analytics_dirty (company_id) values (%(company)s)",
        "select from knowledge_uses",
        "select private.roll_up_analytics(%(company)s, 1)",
        "select private.mark_moments(%(company)s, array[now()])",
        "select private.record_system_metrics()",
        "update chatbots set total_messages = 1 where company_id = %(company)s",
        "update documents set query_count = 1 where company_id = %(company)s",
    ],
)
def test_nobody_writes_statistics_by_hand(
    urls: Urls, companies: tuple[Counted, Counted], role: str, statement: str
) -> None:
    company, _ = companies[0]
    with psycopg.connect(urls.app) as db:
        become(db, company, role)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute(statement, {"company": company.id})


def test_the_workers_login_counts_but_reads_nothing(
    urls: Urls, companies: tuple[Counted, Counted]
) -> None:
    company, _ = companies[0]
    with psycopg.connect(urls.jobs, autocommit=True) as db:
        assert roll_up(db, company) == 0
        for table in ("analytics_daily", "analytics_dirty", "knowledge_uses", "system_metrics"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                db.execute(f"select from {table}")
