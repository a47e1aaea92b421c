"""A company that does not pay, or is closed: what its customers write, and what waits, meanwhile."""

from __future__ import annotations

from uuid import UUID

import psycopg
import pytest

from neurant.channels.telegram.inbound import credential
from neurant.installation.embedded import Urls
from tests.companies import Company, make_company
from tests.plans.sql_as_role import add_conversation, call_as, query_as_admin

INGEST = (
    "select outcome from private.ingest(%s, '{telegram}', array[%s::bytea], '{77}', '{Ana}', %s,"
    " '{text}', '{Hola}', array[null::text])"
)


@pytest.fixture
def acme(urls: Urls) -> Company:
    return make_company(urls.admin, "acme")


@pytest.fixture
def rival(urls: Urls) -> Company:
    return make_company(urls.admin, "rival")


def become(urls: Urls, company: Company, status: str) -> None:
    query_as_admin(
        urls, "update companies set subscription_status = %s where id = %s", status, company.id
    )


def write(urls: Urls, company: Company, number: str) -> str:
    """A customer writes on Telegram."""
    proof = credential(company.telegram_secret.encode())
    with psycopg.connect(urls.app) as db:
        return db.execute(INGEST, ([company.telegram], proof, [number])).fetchone()[0]


def claimed(urls: Urls, *companies: Company) -> set[UUID]:
    """Whose replies a worker would make now; none is taken."""
    with psycopg.connect(urls.jobs) as db:
        rows = db.execute("select company_id from private.claim_replies(1000, '20 s')").fetchall()
        db.rollback()
    return {row[0] for row in rows} & {company.id for company in companies}


def heard(urls: Urls, company: Company) -> int:
    count = "select count(*) from messages where company_id = %s and sender_type = 'end_user'"
    return query_as_admin(urls, count, company.id)[0][0]


def test_customers_of_an_inactive_company_are_heard_and_not_answered(
    urls: Urls, acme: Company, rival: Company
) -> None:
    become(urls, acme, "inactive")
    for company in (acme, rival):
        assert write(urls, company, "1") == "stored"
    assert (heard(urls, acme), heard(urls, rival)) == (1, 1)
    assert claimed(urls, acme, rival) == {rival.id}
    # What was written a moment ago is answered when it comes back.
    with psycopg.connect(urls.app) as db:
        db.execute("select private.confirm_plan(%s, 'enterprise')", (acme.id,))
    assert claimed(urls, acme, rival) == {acme.id, rival.id}


def test_a_closed_company_takes_nothing_in_and_goes_on_where_it_was(
    urls: Urls, acme: Company, rival: Company
) -> None:
    assert write(urls, acme, "1") == "stored"
    assert call_as(urls, acme, "owner", "select private.close_company()") == "closed"
    assert write(urls, acme, "2") == "unknown"  # Telegram keeps it and asks again
    assert heard(urls, acme) == 1
    assert claimed(urls, acme, rival) == set()
    assert call_as(urls, acme, "owner", "select private.reopen_company()") == "reopened"
    assert write(urls, acme, "2") == "stored"
    assert claimed(urls, acme, rival) == {acme.id}


def test_what_waited_for_more_than_a_day_is_neither_answered_nor_sent(
    urls: Urls, acme: Company, rival: Company
) -> None:
    for company in (acme, rival):
        old, new = add_conversation(urls, company), add_conversation(urls, company)
        for conversation in (old, new):
            query_as_admin(
                urls,
                "update conversations set channel = 'telegram' where id = %s",
                conversation,
            )
            query_as_admin(
                urls,
                "insert into messages (company_id, conversation_id, sender_type, content)"
                " values (%s, %s, 'bot', 'x')",
                company.id,
                conversation,
            )
            query_as_admin(
                urls,
                "insert into reply_requests (company_id, conversation_id, wanted_seq, due_at)"
                " values (%s, %s, 1, now())",
                company.id,
                conversation,
            )
        days = "now() - interval '2 days'"
        query_as_admin(
            urls, f"update conversations set last_message_at = {days} where id = %s", old
        )
        query_as_admin(
            urls, f"update outbox set created_at = {days} where conversation_id = %s", old
        )
    become(urls, acme, "inactive")
    with psycopg.connect(urls.app) as db:
        db.execute("select private.confirm_plan(%s, 'enterprise')", (acme.id,))
    waits = (
        "select (select count(*) from reply_requests where company_id = %s),"
        " (select array_agg(status order by created_at) from outbox where company_id = %s)"
    )
    assert query_as_admin(urls, waits, acme.id, acme.id) == [(1, ["cancelled", "pending"])]
    assert query_as_admin(urls, waits, rival.id, rival.id) == [(2, ["pending", "pending"])]
    told = "select count(*) from messages where company_id = %s and status = 'cancelled'"
    assert query_as_admin(urls, told, acme.id) == [(1,)]
    assert query_as_admin(urls, "select count(*) from messages where company_id = %s", acme.id) == [
        (2,)
    ]
