"""Who counts when, and with whom at once: no change is lost, whoever counts while it is made."""

from __future__ import annotations

import random
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from neurant.analytics.jobs import run_rollup
from neurant.core.db.pool import Pool, make_pool
from neurant.installation.embedded import Urls
from tests.analytics.facts import (
    add_conversation,
    add_message,
    assert_all_is_counted,
    process_changes,
    roll_up,
    shown,
)
from tests.companies import Company, make_company

NOON = datetime(2026, 5, 4, 17, tzinfo=UTC)


@pytest.fixture
def db(urls: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(urls.admin, autocommit=True) as connection:
        yield connection


@pytest.fixture
def acme(urls: Urls) -> Company:
    return make_company(urls.admin, "acme")


@pytest.fixture
async def pool(urls: Urls) -> AsyncIterator[Pool]:
    async with make_pool(urls.jobs, size=2, pooled=False) as opened:
        yield opened


def jobs(urls: Urls, **options: Any) -> psycopg.Connection:
    return psycopg.connect(urls.jobs, **options)


def turn(connection: psycopg.Connection, company: Company, limit: int = 50) -> int:
    query = "select private.roll_up_analytics(%s, %s)"
    return connection.execute(query, (company.id, limit)).fetchone()[0]


def test_of_two_who_count_a_company_one_passes_on(
    urls: Urls, db: psycopg.Connection, acme: Company
) -> None:
    add_conversation(db, acme, acme.bot_id, NOON)
    rival = make_company(urls.admin, "rival")
    add_conversation(db, rival, rival.bot_id, NOON)
    with jobs(urls) as first, jobs(urls) as second:
        assert turn(first, acme) == 1
        assert turn(second, acme) == 0
        assert turn(second, rival) == 1
        first.rollback()
    with jobs(urls) as third:
        assert turn(third, acme) == 1, "what was rolled back is still to be counted"
    assert_all_is_counted(db, acme.id)
    assert_all_is_counted(db, rival.id)


def test_a_change_while_its_day_is_counted_is_counted_next(
    urls: Urls, db: psycopg.Connection, acme: Company
) -> None:
    conversation = add_conversation(db, acme, acme.bot_id, NOON)
    add_message(db, acme, conversation, NOON, "bot", tokens=5)
    process_changes(db)
    with jobs(urls) as counting:
        assert turn(counting, acme) == 1
        add_message(db, acme, conversation, NOON, "bot", tokens=7)
        process_changes(db)
        counting.commit()
        assert shown(db, acme.id)[None, NOON.date()]["total_tokens_used"] == 5
        assert turn(counting, acme) == 1
    assert shown(db, acme.id)[None, NOON.date()]["total_tokens_used"] == 12


def test_a_change_that_commits_after_the_count_is_counted_next(
    urls: Urls, db: psycopg.Connection, acme: Company
) -> None:
    """Its mark comes with it: the one that counts meanwhile sees neither."""
    with psycopg.connect(urls.admin) as writing:
        add_conversation(writing, acme, acme.bot_id, NOON)
        add_conversation(db, acme, acme.bot_id, NOON)
        with jobs(urls, autocommit=True) as counting:
            roll_up(counting, acme)
            assert shown(db, acme.id)[None, NOON.date()]["new_conversations"] == 1
            writing.commit()
            assert roll_up(counting, acme) == 1
    assert_all_is_counted(db, acme.id)


def test_a_mark_made_before_the_company_moves_counts_where_it_now_lies(
    urls: Urls, db: psycopg.Connection, acme: Company
) -> None:
    """A mark that commits after the move was of a day of the old timezone, had it been a day."""
    with psycopg.connect(urls.admin) as writing, jobs(urls, autocommit=True) as counting:
        add_conversation(writing, acme, acme.bot_id, NOON)
        db.execute("update companies set timezone = 'Pacific/Kiritimati' where id = %s", (acme.id,))
        roll_up(counting, acme)
        writing.commit()
        roll_up(counting, acme)
    assert set(shown(db, acme.id)) == {
        (bot, NOON.date() + timedelta(days=1)) for bot in (acme.bot_id, None)
    }


def test_writers_movers_and_counters_at_once_end_in_a_recount(
    urls: Urls, db: psycopg.Connection
) -> None:
    companies = [make_company(urls.admin, name) for name in ("acme", "rival")]
    conversations = {c.id: [add_conversation(db, c, c.bot_id, NOON)] for c in companies}
    failures: list[BaseException] = []
    writing = threading.Event()

    def write(seed: int) -> None:
        dice = random.Random(seed)
        with psycopg.connect(urls.admin) as own:
            for _ in range(60):
                company = dice.choice(companies)
                at = NOON + timedelta(hours=dice.randrange(96))
                fresh = add_conversation(own, company, company.bot_id, at)
                known = dice.choice([fresh, *conversations[company.id]])
                add_message(own, company, known, at, "bot", dice.randrange(90), dice.randrange(90))
                own.execute(
                    "update messages set created_at = created_at + interval '1 day'"
                    " where company_id = %s and conversation_id = %s",
                    (company.id, fresh),
                )
                own.commit()
                if dice.random() < 0.05:
                    zone = dice.choice(["America/Bogota", "Asia/Kathmandu"])
                    own.execute(
                        "update companies set timezone = %s where id = %s", (zone, company.id)
                    )
                    own.commit()

    def count() -> None:
        with (
            jobs(urls, autocommit=True) as own,
            psycopg.connect(urls.admin, autocommit=True) as log,
        ):
            while not writing.is_set():
                process_changes(log, 20)
                for company in companies:
                    turn(own, company, 2)

    def noting(work: Any, *arguments: Any) -> None:
        try:
            work(*arguments)
        except BaseException as error:
            failures.append(error)

    writers = [threading.Thread(target=noting, args=(write, seed)) for seed in range(3)]
    counters = [threading.Thread(target=noting, args=(count,)) for _ in range(2)]
    for thread in writers + counters:
        thread.start()
    for thread in writers:
        thread.join()
    writing.set()
    for thread in counters:
        thread.join()
    assert not failures
    process_changes(db)
    with jobs(urls, autocommit=True) as last:
        for company in companies:
            roll_up(last, company)
    for company in companies:
        assert_all_is_counted(db, company.id)


def test_a_turn_takes_no_more_days_than_it_may_and_the_newest_first(
    urls: Urls, db: psycopg.Connection, acme: Company
) -> None:
    for days in range(5):
        add_conversation(db, acme, acme.bot_id, NOON + timedelta(days=days))
    with jobs(urls, autocommit=True) as counting:
        assert turn(counting, acme, 2) == 2
        newest = {NOON.date() + timedelta(days=days) for days in (3, 4)}
        assert {day for _, day in shown(db, acme.id)} == newest
        assert [turn(counting, acme, 2) for _ in range(3)] == [2, 1, 0]
    assert_all_is_counted(db, acme.id)


@pytest.mark.anyio
async def test_the_job_counts_every_company(
    urls: Urls, db: psycopg.Connection, acme: Company, pool: Pool
) -> None:
    rival = make_company(urls.admin, "rival")
    for company in (acme, rival):
        for days in range(60):
            add_conversation(db, company, company.bot_id, NOON + timedelta(days=days))
    assert await run_rollup(pool) >= 120
    assert await run_rollup(pool) == 0
    for company in (acme, rival):
        assert_all_is_counted(db, company.id)


@pytest.mark.anyio
async def test_a_company_that_cannot_be_counted_keeps_no_other_from_it(
    urls: Urls, db: psycopg.Connection, pool: Pool, acme: Company
) -> None:
    rival = make_company(urls.admin, "rival")
    bad = add_conversation(db, acme, acme.bot_id, NOON)
    add_conversation(db, rival, rival.bot_id, NOON)
    for n in range(2):
        add_message(db, acme, bad, NOON, "bot", tokens=2**31 - 1 - n)
    # More than a decimal(10, 2) of minutes holds.
    db.execute(
        "update conversations set status = 'resolved', ended_at = %s where id = %s", (NOON, bad)
    )
    db.execute(
        "update conversations set session_duration_minutes = 2147483647 where id = %s", (bad,)
    )
    await run_rollup(pool)
    assert_all_is_counted(db, rival.id)
    assert shown(db, acme.id) == {}
    db.execute("update conversations set session_duration_minutes = 1 where id = %s", (bad,))
    process_changes(db)
    await run_rollup(pool)
    assert_all_is_counted(db, acme.id)


def test_a_company_that_is_erased_leaves_no_marks(
    urls: Urls, db: psycopg.Connection, acme: Company
) -> None:
    db.execute(
        "insert into analytics_dirty (company_id, moment) values (gen_random_uuid(), now()) returning company_id"
    )
    with jobs(urls, autocommit=True) as counting:
        for (company,) in counting.execute("select private.companies_to_roll_up()").fetchall():
            counting.execute("select private.roll_up_analytics(%s, 50)", (company,))
        assert counting.execute("select private.companies_to_roll_up()").fetchall() == []
