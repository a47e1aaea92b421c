"""Every kind of change to a fact, by itself, is found: after it the days equal a recount again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.analytics.facts import (
    add_bot,
    add_conversation,
    add_message,
    archive,
    assert_all_is_counted,
    process_changes,
    react,
    recount,
    restore,
    roll_up,
    shown,
)
from tests.companies import Company, make_company

# Morning in Bogotá, another day both far east and far west of it. Each kind of fact has days of its
# own, so that no change hides behind another.
FIRST = datetime(2026, 3, 1, 11, tzinfo=UTC)
LATER = FIRST + timedelta(days=200)


def day(number: int) -> datetime:
    return FIRST + timedelta(days=number)


@dataclass(frozen=True)
class Lived:
    company: Company
    other_bot: UUID
    conversation: UUID
    finished: UUID
    message: UUID


@pytest.fixture
def db(urls: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(urls.admin, autocommit=True) as connection:
        yield connection


@pytest.fixture
def jobs(urls: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(urls.jobs, autocommit=True) as connection:
        yield connection


def live(db: psycopg.Connection, urls: Urls, name: str) -> Lived:
    company = make_company(urls.admin, name)
    other = add_bot(db, company, "Otro")
    conversation = add_conversation(db, company, company.bot_id, day(0))
    message = add_message(db, company, conversation, day(1), "bot", tokens=70, took_ms=900)
    add_message(db, company, conversation, day(1), "end_user")
    react(db, urls, company, "owner", message, "thumbs_up", day(2))
    finished = add_conversation(db, company, other, day(3))
    add_message(db, company, finished, day(4), "bot", tokens=5, took_ms=300)
    for of, opened, reason in ((conversation, day(6), "manual"), (finished, day(5), "no_answer")):
        db.execute(
            "insert into hitl_sessions (company_id, conversation_id, chatbot_id, reason, opened_at)"
            " select company_id, id, chatbot_id, %s, %s from conversations where id = %s",
            (reason, opened, of),
        )
    db.execute(
        "update hitl_sessions set status = 'resolved', ended_at = %s where conversation_id = %s",
        (day(7), finished),
    )
    db.execute("update messages set created_at = %s where sender_type = 'system'"
               " and company_id = %s", (day(8), company.id))  # fmt: skip
    db.execute(
        "update conversations set status = 'resolved', ended_at = %s, satisfaction_rating = 4,"
        " session_duration_minutes = 7 where id = %s",
        (day(9), finished),
    )
    db.execute(
        "insert into knowledge_queries (company_id, conversation_id, query_text, results_count,"
        " created_at) values (%s, %s, 'x', 1, %s), (%s, null, 'x', 0, %s)",
        (company.id, conversation, day(10), company.id, day(10)),
    )
    left = add_conversation(db, company, company.bot_id, day(11))
    db.execute(
        "update conversations set status = 'abandoned', ended_at = %s where id = %s",
        (day(11), left),
    )
    return Lived(company, other, conversation, finished, message)


CHANGES = {
    "a message comes": "insert into messages (company_id, conversation_id, chatbot_id,"
    " channel_account_id, sender_type, content, created_at) select company_id, id, chatbot_id,"
    " channel_account_id, 'bot', 'hola', %(later)s from conversations where id = %(conversation)s",
    "a message moves to another day": "update messages set created_at = %(later)s where id = %(message)s",
    "a message's tokens change": "update messages set tokens_used = 71 where id = %(message)s",
    "a message's time changes": "update messages set processing_time_ms = 1 where id = %(message)s",
    "a message's sender changes": "update messages set sender_type = 'end_user' where id = %(message)s",
    "messages are erased": "delete from messages where conversation_id = %(finished)s",
    "a conversation begins": "insert into conversations (company_id, chatbot_id, channel_account_id,"
    " end_user_id, channel, started_at) select company_id, chatbot_id, channel_account_id,"
    " 'new', channel, %(later)s from conversations where id = %(finished)s",
    "a conversation comes back finished": "insert into conversations (company_id, chatbot_id,"
    " channel_account_id, end_user_id, channel, started_at, status, ended_at) select company_id,"
    " chatbot_id, channel_account_id, 'new', channel, started_at, 'resolved', %(later)s"
    " from conversations where id = %(finished)s",
    "a finished conversation goes": "with gone as (delete from messages where conversation_id = %(finished)s),"
    " gone_sessions as (delete from hitl_sessions where conversation_id = %(finished)s)"
    " delete from conversations where id = %(finished)s",
    "a conversation began later": "update conversations set started_at = %(later)s where id = %(conversation)s",
    "a conversation ended later": "update conversations set ended_at = %(later)s where id = %(finished)s",
    "a conversation's length changes": "update conversations set session_duration_minutes = 3 where id = %(finished)s",
    "an open conversation is rated": "update conversations set satisfaction_rating = 2 where id = %(conversation)s",
    "a finished conversation is rated anew": "update conversations set satisfaction_rating = 1 where id = %(finished)s",
    "a rating is taken back": "update conversations set satisfaction_rating = null where id = %(finished)s",
    "an open takeover is erased": "delete from hitl_sessions where conversation_id = %(conversation)s",
    "a rated conversation's takeover is erased": "delete from hitl_sessions where conversation_id = %(finished)s",
    "a takeover is resolved": "update hitl_sessions set status = 'resolved', ended_at = %(later)s"
    " where conversation_id = %(conversation)s",
    "a takeover was opened later": "update hitl_sessions set opened_at = %(later)s where conversation_id = %(conversation)s",
    "a takeover was resolved later": "update hitl_sessions set ended_at = %(later)s where conversation_id = %(finished)s",
    "a takeover was abandoned": "update hitl_sessions set status = 'abandoned' where conversation_id = %(finished)s",
    "a reaction turns": "update message_reactions set reaction_type = 'thumbs_down' where message_id = %(message)s",
    "a reaction moves to another day": "update message_reactions set created_at = %(later)s where message_id = %(message)s",
    "a reaction is taken back": "delete from message_reactions where message_id = %(message)s",
    "a search comes": "insert into knowledge_queries (company_id, conversation_id, query_text,"
    " results_count, created_at) select company_id, id, 'x', 2, %(later)s from conversations where id = %(finished)s",
    "a search found nothing after all": "update knowledge_queries set results_count = 0 where company_id = %(company)s",
    "a search moves to another day": "update knowledge_queries set created_at = %(later)s where company_id = %(company)s",
    "a search leaves its conversation": "update knowledge_queries set conversation_id = null where company_id = %(company)s",
    "searches are erased": "delete from knowledge_queries where company_id = %(company)s",
    "the company moves east": "update companies set timezone = 'Pacific/Kiritimati' where id = %(company)s",
    "the company moves west": "update companies set timezone = 'Etc/GMT+12' where id = %(company)s",
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_counted(
    urls: Urls, db: psycopg.Connection, jobs: psycopg.Connection, change: str
) -> None:
    acme, rival = live(db, urls, "acme"), live(db, urls, "rival")
    process_changes(db)
    for lived in (acme, rival):
        roll_up(jobs, lived.company)
        assert_all_is_counted(db, lived.company.id)
    before, of_rival = (shown(db, lived.company.id) for lived in (acme, rival))
    changed = db.execute(
        CHANGES[change],
        {
            "company": acme.company.id, "conversation": acme.conversation,
            "finished": acme.finished, "message": acme.message, "later": LATER,
        },
    )  # fmt: skip
    assert changed.rowcount > 0
    process_changes(db)
    roll_up(jobs, acme.company)
    assert_all_is_counted(db, acme.company.id)
    assert shown(db, acme.company.id) != before, "a change that no figure shows tests nothing"
    assert roll_up(jobs, rival.company) == 0
    assert shown(db, rival.company.id) == of_rival


def test_what_is_archived_and_what_comes_back_counts_as_before(
    urls: Urls, db: psycopg.Connection, jobs: psycopg.Connection
) -> None:
    lived = live(db, urls, "acme")
    process_changes(db)
    roll_up(jobs, lived.company)
    before = shown(db, lived.company.id)
    for move in (archive, restore, archive):
        assert move(db, lived.finished)
        process_changes(db)
        assert roll_up(jobs, lived.company) > 0
        assert shown(db, lived.company.id) == before
        assert_all_is_counted(db, lived.company.id)
    # Also where the live facts of the day change, long after.
    late = add_conversation(db, lived.company, lived.other_bot, day(4))
    add_message(db, lived.company, late, day(4), "bot", took_ms=100)
    process_changes(db)
    roll_up(jobs, lived.company)
    assert_all_is_counted(db, lived.company.id)
    assert shown(db, lived.company.id)[None, day(4).date()]["avg_response_time_ms"] == 200


def test_a_day_whose_facts_are_gone_has_no_row(
    urls: Urls, db: psycopg.Connection, jobs: psycopg.Connection
) -> None:
    lived = live(db, urls, "acme")
    process_changes(db)
    roll_up(jobs, lived.company)
    gone = [(bot, day(10).date()) for bot in (lived.company.bot_id, None)]
    assert set(gone) <= set(shown(db, lived.company.id))
    db.execute("delete from knowledge_queries where company_id = %s", (lived.company.id,))
    roll_up(jobs, lived.company)
    assert not set(gone) & set(shown(db, lived.company.id))


def test_what_changes_no_figure_asks_for_no_count(
    urls: Urls, db: psycopg.Connection, jobs: psycopg.Connection
) -> None:
    """A delivered message and another name of the end user are everyday updates."""
    lived = live(db, urls, "acme")
    process_changes(db)
    roll_up(jobs, lived.company)
    for update in (
        "update conversations set end_user_name = 'Ana', last_seq = last_seq where id = %s",
        "update messages set status = 'delivered', delivered_at = now() where conversation_id = %s"
        " and sender_type = 'bot'",
        "update conversations set status = status where id = %s",
    ):
        db.execute(update, (lived.conversation,))
    process_changes(db)
    assert roll_up(jobs, lived.company) == 0


def test_the_companys_averages_weigh_every_fact_alike(
    urls: Urls, db: psycopg.Connection, jobs: psycopg.Connection
) -> None:
    """One bot answers three times at 100 ms, the other once at 500: 200, and not 300."""
    company = make_company(urls.admin, "acme")
    for bot, times in ((company.bot_id, (100, 100, 100)), (add_bot(db, company, "Otro"), (500,))):
        conversation = add_conversation(db, company, bot, day(0))
        for took_ms in times:
            add_message(db, company, conversation, day(0), "bot", took_ms=took_ms)
    process_changes(db)
    roll_up(jobs, company)
    figures = shown(db, company.id)
    assert figures[None, day(0).date()]["avg_response_time_ms"] == 200
    assert figures[company.bot_id, day(0).date()]["avg_response_time_ms"] == 100
    assert figures[None, day(0).date()]["active_conversations"] == 2


def test_the_hour_that_is_lived_twice_belongs_to_its_date(
    urls: Urls, db: psycopg.Connection, jobs: psycopg.Connection
) -> None:
    """On 2026-11-01 at 1:00 in Havana it is 0:00 again: both hours are of that day."""
    company = make_company(urls.admin, "acme")
    db.execute("update companies set timezone = 'America/Havana' where id = %s", (company.id,))
    conversation = add_conversation(db, company, company.bot_id, day(0))
    for hour, minute in ((3, 59), (4, 0), (4, 30), (5, 30)):
        add_message(db, company, conversation, datetime(2026, 11, 1, hour, minute, tzinfo=UTC))
    process_changes(db)
    roll_up(jobs, company)
    assert shown(db, company.id) == recount(db, company.id)
    figures = shown(db, company.id)
    assert figures[None, date(2026, 10, 31)]["total_messages"] == 1
    assert figures[None, date(2026, 11, 1)]["total_messages"] == 3


def test_midnight_may_lie_within_an_hour(
    urls: Urls, db: psycopg.Connection, jobs: psycopg.Connection
) -> None:
    """In Kathmandu it is midnight at 18:15 UTC: a change just after it is not one of the day before."""
    company = make_company(urls.admin, "acme")
    db.execute("update companies set timezone = 'Asia/Kathmandu' where id = %s", (company.id,))
    conversation = add_conversation(db, company, company.bot_id, day(0))
    message = add_message(
        db, company, conversation, datetime(2026, 5, 4, 18, 20, tzinfo=UTC), "bot", tokens=1
    )
    process_changes(db)
    roll_up(jobs, company)
    db.execute("update messages set tokens_used = 2 where id = %s", (message,))
    process_changes(db)
    roll_up(jobs, company)
    assert shown(db, company.id)[None, date(2026, 5, 5)]["total_tokens_used"] == 2


def test_a_bots_own_figures_follow_and_are_no_edit_of_it(
    urls: Urls, db: psycopg.Connection, jobs: psycopg.Connection
) -> None:
    lived = live(db, urls, "acme")
    query = (
        "select total_conversations, total_messages, avg_response_time_ms, satisfaction_score,"
        " updated_at from chatbots where id = %s"
    )
    *before, edited = db.execute(query, (lived.company.bot_id,)).fetchone()
    assert before == [0, 0, 0, 0]
    process_changes(db)
    roll_up(jobs, lived.company)
    # Two messages and the line that tells of the takeover.
    assert db.execute(query, (lived.company.bot_id,)).fetchone() == (2, 3, 900, 0, edited)
    assert db.execute(query, (lived.other_bot,)).fetchone()[3] == Decimal("4.00")
    db.execute("update chatbots set name = 'Nuevo' where id = %s", (lived.company.bot_id,))
    assert db.execute(query, (lived.company.bot_id,)).fetchone()[4] > edited
