"""A conversation's counters equal a recount, whoever writes, deletes or moves messages."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company

SENDERS = ("bot", "human", "system", "end_user")
RECOUNT = """
select c.message_count, c.bot_message_count, c.human_message_count, c.last_message_at,
  c.response_time_total_ms, c.response_time_count, c.avg_response_time_ms,
  count(m.id), count(m.id) filter (where m.sender_type = 'bot'),
  count(m.id) filter (where m.sender_type = 'human'), greatest(c.started_at, max(m.created_at)),
  coalesce(sum(m.processing_time_ms) filter (where m.sender_type = 'bot'), 0),
  count(m.processing_time_ms) filter (where m.sender_type = 'bot'),
  coalesce(round(avg(m.processing_time_ms) filter (where m.sender_type = 'bot')), 0)
from conversations c
left join messages m on m.company_id = c.company_id and m.conversation_id = c.id
where c.company_id = %s
group by c.company_id, c.id
"""
STARTED = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def companies(urls: Urls) -> tuple[Company, Company]:
    return make_company(urls.admin, "acme"), make_company(urls.admin, "rival")


def converse(db: psycopg.Connection, company: Company, user: str | None = None) -> UUID:
    return db.execute(
        "insert into conversations (company_id, chatbot_id, channel_account_id, end_user_id,"
        " channel, started_at, last_message_at) select company_id, chatbot_id, id,"
        " coalesce(%s, gen_random_uuid()::text), channel, %s, %s"
        " from channel_accounts where company_id = %s and channel = 'web' returning id",
        (user, STARTED, STARTED, company.id),
    ).fetchone()[0]


def write(
    db: psycopg.Connection,
    company: Company,
    conversation: UUID,
    sender: str = "bot",
    took: int | None = None,
    at: datetime | None = None,
) -> UUID:
    return db.execute(
        "insert into messages (company_id, conversation_id, sender_type, content,"
        " processing_time_ms, created_at)"
        " values (%s, %s, %s, 'x', %s, coalesce(%s, clock_timestamp())) returning id",
        (company.id, conversation, sender, took, at),
    ).fetchone()[0]


def check(urls: Urls, company: Company) -> int:
    """Every conversation of the company against a recount; how many there are."""
    with psycopg.connect(urls.admin) as db:
        found = db.execute(RECOUNT, (company.id,)).fetchall()
    for row in found:
        assert row[:7] == row[7:]
    return len(found)


def test_the_average_response_time_is_that_of_the_bots_timed_messages(
    urls: Urls, companies: tuple[Company, Company]
) -> None:
    acme, rival = companies
    with psycopg.connect(urls.admin) as db:
        conversation, other = converse(db, acme), converse(db, rival)
        for sender, took in (("bot", 100), ("bot", 201), ("bot", None), ("human", 5000)):
            write(db, acme, conversation, sender, took)
        write(db, rival, other, "bot", 9)
        averages = "select avg_response_time_ms from conversations where id = any (%s) order by 1"
        assert db.execute(averages, ([conversation, other],)).fetchall() == [(9,), (151,)]
    assert check(urls, acme)
    assert check(urls, rival)


def test_a_back_filled_message_moves_the_last_one_only_forwards_and_to_its_own_time(
    urls: Urls, companies: tuple[Company, Company]
) -> None:
    acme, _ = companies
    last = "select last_message_at from conversations where id = %s"
    with psycopg.connect(urls.admin) as db:
        conversation = converse(db, acme)
        for hours, expected in ((-5, 0), (3, 3), (1, 3), (7, 7)):
            write(db, acme, conversation, at=STARTED + timedelta(hours=hours))
            [moment] = db.execute(last, (conversation,)).fetchone()
            assert moment == STARTED + timedelta(hours=expected)
    check(urls, acme)


def test_messages_of_one_statement_are_all_counted_and_have_an_order(
    urls: Urls, companies: tuple[Company, Company]
) -> None:
    acme, _ = companies
    with psycopg.connect(urls.admin) as db:
        conversation = converse(db, acme)
        db.execute(
            "insert into messages (company_id, conversation_id, sender_type, content, created_at)"
            " select %s, %s, 'bot', 'paso ' || g, now() from generate_series(1, 6) g",
            (acme.id, conversation),
        )
        said = db.execute(
            "select content from messages where conversation_id = %s order by seq", (conversation,)
        ).fetchall()
    assert said == [(f"paso {number}",) for number in range(1, 7)]
    check(urls, acme)


def test_deleting_and_moving_messages_is_followed_too(
    urls: Urls, companies: tuple[Company, Company]
) -> None:
    acme, _ = companies
    with psycopg.connect(urls.admin) as db:
        one, two = converse(db, acme), converse(db, acme)
        kept = [write(db, acme, one, "bot", 10 * number) for number in range(4)]
        write(db, acme, two, "human")
        db.execute("delete from messages where id = %s", (kept.pop(),))
        db.execute("update messages set processing_time_ms = 7 where id = %s", (kept[0],))
        db.execute(
            "update messages set conversation_id = %s, seq = 100 where id = %s", (two, kept[1])
        )
    check(urls, acme)
    with psycopg.connect(urls.admin) as db:
        db.execute("delete from messages where company_id = %s", (acme.id,))
    check(urls, acme)


Step = tuple[str, int, str, int | None, int]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "write", "delete", "update"]),
        st.integers(0, 2),
        st.sampled_from(SENDERS),
        st.none() | st.integers(0, 3000),
        st.integers(-500, 500),
    ),
    max_size=25,
)


def live(urls: Urls, company: Company, conversations: list[UUID], steps: list[Step]) -> None:
    """One writer: each step a transaction of its own."""
    dice = Random(len(steps))
    with psycopg.connect(urls.admin, autocommit=True) as db:
        for kind, which, sender, took, hours in steps:
            conversation, at = conversations[which], STARTED + timedelta(hours=hours)
            if kind == "write":
                write(db, company, conversation, sender, took, at if hours % 3 else None)
                continue
            # Concurrent ones may take the same row: then there is nothing left to do.
            change = (
                "delete from messages"
                if kind == "delete"
                else "update messages set processing_time_ms = 42"
            )
            db.execute(
                f"{change} where company_id = %s and id = (select id from messages where company_id"
                " = %s and conversation_id = %s order by id offset %s limit 1)",
                (company.id, company.id, conversation, dice.randrange(3)),
            )


@settings(max_examples=15, deadline=None)
@given(first=STEPS, second=STEPS, third=STEPS)
def test_whatever_writers_do_at_once_the_counters_equal_a_recount(
    urls: Urls, companies: tuple[Company, Company], first: list[Step], second: list[Step],
    third: list[Step],
) -> None:  # fmt: skip
    with psycopg.connect(urls.admin) as db:
        conversations = [[converse(db, company) for _ in range(3)] for company in companies]
    failed: list[BaseException] = []

    def run(company: int, steps: list[Step]) -> None:
        try:
            live(urls, companies[company], conversations[company], steps)
        except BaseException as error:
            failed.append(error)

    writers = [
        threading.Thread(target=run, args=(company, steps))
        for company, steps in ((0, first), (0, second), (1, third))
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failed == []
    assert all(check(urls, company) for company in companies)
