"""A company's month begins on its own day, in its own timezone, also after a short February."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurant.core.db.pool import make_pool
from neurant.installation.embedded import Urls
from neurant.plans.jobs import run_monthly
from tests.companies import Company, make_company

RESET = "select company_id, counted from private.reset_monthly_message_count(%s)"


def company_since(
    urls: Urls, name: str, first_day: str, used: int = 7, timezone: str = "America/Bogota"
) -> Company:
    """A company whose month began on that day, as sign-up leaves it, with messages used."""
    company = make_company(urls.admin, name)
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "update companies set monthly_reset_date = %s, timezone = %s,"
            " monthly_anchor_day = extract(day from %s::date), monthly_message_count = %s"
            " where id = %s",
            (first_day, timezone, first_day, used, company.id),
        )
    return company


def reset(urls: Urls, moment: datetime) -> dict[UUID, int]:
    """What was closed at that moment."""
    with psycopg.connect(urls.admin) as db:
        return dict(db.execute(RESET, (moment,)).fetchall())


def month_of(urls: Urls, company: Company) -> tuple[date, int]:
    with psycopg.connect(urls.admin) as db:
        return db.execute(
            "select monthly_reset_date, monthly_message_count from companies where id = %s",
            (company.id,),
        ).fetchone()


def noon(day: str) -> datetime:
    return datetime.fromisoformat(f"{day}T12:00-05:00")


@pytest.mark.parametrize(
    ("first_day", "days", "starts"),
    [
        ("2025-01-31", ["2025-02-27"], ["2025-01-31"]),
        ("2025-01-31", ["2025-02-28", "2025-03-30"], ["2025-02-28", "2025-02-28"]),
        ("2025-01-31", ["2025-02-28", "2025-03-31"], ["2025-02-28", "2025-03-31"]),
        ("2024-01-31", ["2024-02-28", "2024-02-29"], ["2024-01-31", "2024-02-29"]),
        ("2024-01-30", ["2024-02-29", "2024-03-30"], ["2024-02-29", "2024-03-30"]),
        ("2024-02-29", ["2024-03-29", "2025-02-28"], ["2024-03-29", "2025-02-28"]),
        ("2025-03-31", ["2025-04-30", "2025-05-31"], ["2025-04-30", "2025-05-31"]),
        ("2025-12-15", ["2026-01-14", "2026-01-15"], ["2025-12-15", "2026-01-15"]),
        ("2025-01-31", ["2025-07-05"], ["2025-06-30"]),  # months missed: caught up at once
    ],
)
def test_the_day_of_the_anchor_is_kept(
    urls: Urls, first_day: str, days: list[str], starts: list[str]
) -> None:
    acme = company_since(urls, "acme", first_day)
    for day, start in zip(days, starts, strict=True):
        reset(urls, noon(day))
        assert month_of(urls, acme)[0] == date.fromisoformat(start)


def test_a_new_month_closes_the_old_one_once(urls: Urls) -> None:
    acme = company_since(urls, "acme", "2025-05-10", used=7)
    rival = company_since(urls, "rival", "2025-05-20", used=9)
    closed = reset(urls, noon("2025-06-10"))
    assert closed[acme.id] == 7
    assert rival.id not in closed
    assert month_of(urls, acme) == (date(2025, 6, 10), 0)
    assert month_of(urls, rival) == (date(2025, 5, 20), 9)
    assert acme.id not in reset(urls, noon("2025-06-10"))
    assert acme.id not in reset(urls, noon("2025-05-30")), "a clock that runs back resets nothing"
    assert month_of(urls, acme) == (date(2025, 6, 10), 0)


def test_the_month_begins_at_midnight_where_the_company_is(urls: Urls) -> None:
    tokyo = company_since(urls, "tokyo", "2025-05-10", timezone="Asia/Tokyo")
    bogota = company_since(urls, "bogota", "2025-05-10")
    midnight = datetime(2025, 6, 10, tzinfo=ZoneInfo("Asia/Tokyo"))
    before = reset(urls, midnight - timedelta(seconds=1))
    assert not before.keys() & {tokyo.id, bogota.id}
    after = reset(urls, midnight)
    assert tokyo.id in after
    assert bogota.id not in after
    assert bogota.id in reset(urls, datetime(2025, 6, 10, 5, tzinfo=UTC))


def test_the_first_message_of_a_month_begins_it_without_any_job(urls: Urls) -> None:
    acme = company_since(urls, "acme", "2020-01-31", used=500)
    with psycopg.connect(urls.admin) as db:
        db.execute("update companies set monthly_message_limit = 500 where id = %s", (acme.id,))
        conversation = db.execute(
            "insert into conversations (company_id, chatbot_id, channel_account_id, end_user_id,"
            " channel) select company_id, chatbot_id, id, 'u', channel from channel_accounts"
            " where company_id = %s and channel = 'web' returning id",
            (acme.id,),
        ).fetchone()[0]
        db.execute(
            "insert into messages (company_id, conversation_id, sender_type, content)"
            " values (%s, %s, 'bot', 'hola')",
            (acme.id, conversation),
        )
        today, used = db.execute(
            "select (now() at time zone 'America/Bogota')::date,"
            " (select sum(used) from usage_slots where company_id = %s)",
            (acme.id,),
        ).fetchone()
    start, count = month_of(urls, acme)
    assert (count, used) == (0, 1)
    assert timedelta(0) <= today - start < timedelta(days=31)


def test_a_new_company_keeps_the_day_it_began(urls: Urls) -> None:
    with psycopg.connect(urls.admin) as db:
        anchored = db.execute(
            "insert into companies (name, slug, email, monthly_reset_date) values"
            " ('N', 'n-' || gen_random_uuid(), 'n@n.example', '2024-12-31')"
            " returning monthly_anchor_day"
        ).fetchone()
    assert anchored == (31,)


@pytest.mark.anyio
async def test_the_workers_job_closes_months_and_drains(urls: Urls) -> None:
    acme = company_since(urls, "acme", "2020-01-31", used=12)
    async with make_pool(urls.jobs, size=1, pooled=False) as pool:
        assert (acme.id, 12) in {(m.company_id, m.counted) for m in await run_monthly(pool)}
        assert acme.id not in {m.company_id for m in await run_monthly(pool)}


@settings(max_examples=200, deadline=None)
@given(
    today=st.dates(date(2000, 1, 1), date(2100, 12, 31)),
    anchor=st.integers(1, 31),
)
def test_every_day_belongs_to_the_month_that_began_last(
    urls: Urls, today: date, anchor: int
) -> None:
    with psycopg.connect(urls.admin) as db:
        start, same, following = db.execute(
            "select s, private.month_start(s, %(a)s), private.month_start(%(d)s + 1, %(a)s)"
            " from private.month_start(%(d)s, %(a)s) s",
            {"d": today, "a": anchor},
        ).fetchone()
    last_day = (date(start.year + start.month // 12, start.month % 12 + 1, 1) - timedelta(1)).day
    assert start.day == min(anchor, last_day)
    assert start == same
    assert timedelta(0) <= today - start < timedelta(days=31)
    assert following in (start, today + timedelta(1))
