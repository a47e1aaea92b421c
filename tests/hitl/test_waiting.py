"""A customer whom nobody takes is brought before those in charge, once."""

from __future__ import annotations

from uuid import UUID, uuid4

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company

TOLD = (
    "select array_agg(u.role::text order by u.role) from notifications n"
    " join users u on u.company_id = n.company_id and u.id = n.user_id"
    " where n.company_id = %s and n.kind = 'customer_waiting'"
)


def wait(urls: Urls, company: Company, since: str) -> UUID:
    """A conversation in which somebody asked for a person that long ago."""
    with psycopg.connect(urls.admin) as db:
        conversation = db.execute(
            "insert into conversations (company_id, chatbot_id, channel_account_id, end_user_id, channel)"
            " select company_id, chatbot_id, id, %s, channel from channel_accounts where routing_id = %s"
            " returning id",
            (str(uuid4()), company.web),
        ).fetchone()[0]
        db.execute(
            "insert into hitl_sessions (company_id, conversation_id, chatbot_id, reason, opened_at)"
            " values (%s, %s, %s, 'user_request', now() - %s::interval)",
            (company.id, conversation, company.bot_id, since),
        )
    return conversation


def escalate(urls: Urls) -> int:
    with psycopg.connect(urls.jobs) as db:
        return db.execute("select private.escalate_waiting()").fetchone()[0]


def notifications_of(urls: Urls, company: Company) -> list[str] | None:
    with psycopg.connect(urls.admin) as db:
        return db.execute(TOLD, (company.id,)).fetchone()[0]


@pytest.fixture
def acme(urls: Urls) -> Company:
    return make_company(urls.admin, "acme")


def test_after_five_minutes_all_in_charge_are_notified_once(urls: Urls, acme: Company) -> None:
    rival = make_company(urls.admin, "rival")
    wait(urls, acme, "6 minutes")
    wait(urls, rival, "4 minutes")
    assert escalate(urls) >= 1
    assert notifications_of(urls, acme) == ["owner", "administrador", "supervisor"]
    assert notifications_of(urls, rival) is None
    escalate(urls)
    assert len(notifications_of(urls, acme)) == 3


def test_the_bot_says_how_long_is_too_long(urls: Urls, acme: Company) -> None:
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "update chatbots set auto_escalate_after_minutes = 30 where company_id = %s", (acme.id,)
        )
    wait(urls, acme, "20 minutes")
    escalate(urls)
    assert notifications_of(urls, acme) is None


def test_where_another_supervisor_is_in_charge_only_that_one_is_notified(
    urls: Urls, acme: Company
) -> None:
    with psycopg.connect(urls.admin) as db:
        other = db.execute(
            "insert into users (company_id, email, first_name, last_name, role)"
            " values (%s, 'otra@x.example', 'Otra', 'X', 'supervisor') returning id",
            (acme.id,),
        ).fetchone()[0]
        db.execute(
            "insert into chatbot_supervisors (company_id, chatbot_id, supervisor_id, assigned_by)"
            " values (%s, %s, %s, %s)",
            (acme.id, acme.bot_id, other, acme.people["owner"].id),
        )
    wait(urls, acme, "6 minutes")
    escalate(urls)
    assert notifications_of(urls, acme) == ["owner", "administrador", "supervisor"]
    with psycopg.connect(urls.admin) as db:
        query = "select count(*) from notifications where company_id = %s and user_id = %s"
        assert db.execute(query, (acme.id, other)).fetchone() == (1,)


def test_only_a_supervisor_can_be_in_charge(urls: Urls, acme: Company) -> None:
    with psycopg.connect(urls.admin) as db, pytest.raises(psycopg.errors.CheckViolation):
        db.execute(
            "insert into chatbot_supervisors (company_id, chatbot_id, supervisor_id, assigned_by)"
            " values (%s, %s, %s, %s)",
            (acme.id, acme.bot_id, acme.people["operador"].id, acme.people["owner"].id),
        )
