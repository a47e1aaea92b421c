"""When people attend: the database's answer against a plain model that walks minute by minute."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurant.conversations.system_lines import system_text
from neurant.installation.embedded import Urls
from tests.companies import make_company, open_visitor

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
ZONES = (
    "America/Bogota",  # never changes its clock
    "America/Santiago",  # changes at midnight
    "America/New_York",
    "Australia/Lord_Howe",  # by half an hour
    "Europe/Madrid",
    "Asia/Kathmandu",  # a quarter past
)
Hours = dict[str, list[list[str]]]


def attends(hours: Hours, zone: str, at: datetime) -> bool:
    local = at.astimezone(ZoneInfo(zone))
    clock = local.strftime("%H:%M")
    today = hours.get(DAYS[local.weekday()], [])
    day_before = hours.get(DAYS[local.weekday() - 1], [])
    return any(
        start <= clock < end if start < end else clock >= start for start, end in today
    ) or any(end < start and clock < end for start, end in day_before)


def back_at(hours: Hours, zone: str, at: datetime) -> datetime | None:
    moment = at.replace(second=0, microsecond=0)
    for _ in range(8 * 24 * 60):
        moment += timedelta(minutes=1)
        if attends(hours, zone, moment):
            return moment
    return None


clock = st.builds(
    "{:02d}:{:02d}".format, st.integers(0, 23), st.sampled_from((0, 0, 0, 1, 15, 30, 45, 59))
)
interval = st.tuples(clock, clock | st.just("24:00")).filter(lambda pair: pair[0] != pair[1])
weekly = st.dictionaries(
    st.sampled_from(DAYS), st.lists(interval.map(list), max_size=3), max_size=7
).filter(lambda hours: any(hours.values()))
# Around the nights on which these zones change their clocks, and any other time of the year.
moments = st.one_of(
    *(
        st.datetimes(night - timedelta(hours=30), night + timedelta(hours=30))
        for night in (
            datetime(2026, 3, 8, 7),
            datetime(2026, 11, 1, 6),
            datetime(2026, 3, 29, 1),
            datetime(2026, 10, 25, 1),
            datetime(2026, 4, 5, 3),
            datetime(2026, 9, 6, 4),
            datetime(2026, 4, 4, 15),
            datetime(2026, 10, 3, 15),
        )
    ),
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)),
).map(lambda moment: moment.replace(tzinfo=UTC))


@pytest.fixture(scope="module")
def db(urls: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(urls.admin, autocommit=True) as connection:
        yield connection


@given(hours=weekly, zone=st.sampled_from(ZONES), at=moments)
@settings(max_examples=150, deadline=None)
def test_open_and_back_are_what_a_walk_along_the_clock_finds(
    db: psycopg.Connection, hours: Hours, zone: str, at: datetime
) -> None:
    is_open, opens_at = db.execute(
        "select private.is_open(%s, %s, %s), private.opens_at(%s, %s, %s)",
        (json.dumps(hours), zone, at) * 2,
    ).fetchone()
    assert is_open == attends(hours, zone, at)
    assert opens_at == (None if is_open else back_at(hours, zone, at))


@pytest.mark.parametrize(
    "hours",
    [
        {},
        {"monday": [["08:00", "12:00"], ["14:00", "18:00"]], "sunday": []},
        {"friday": [["18:00", "02:00"]]},
        {"saturday": [["00:00", "24:00"]]},
    ],
)
def test_well_formed_hours_are_taken(db: psycopg.Connection, hours: Hours) -> None:
    query = "select private.is_working_hours(%s)"
    assert db.execute(query, (json.dumps(hours),)).fetchone() == (True,)


@pytest.mark.parametrize(
    "hours",
    [
        [],
        "siempre",
        None,
        {"lunes": [["08:00", "12:00"]]},
        {"monday": "08:00-12:00"},
        {"monday": [["08:00"]]},
        {"monday": [["8:00", "12:00"]]},
        {"monday": [["08:00", "08:00"]]},
        {"monday": [["24:00", "08:00"]]},
        {"monday": [["08:00", "25:00"]]},
        {"monday": [[8, 12]]},
        {"monday": [["08:00", None]]},
        {"monday": []},
        {"monday": [["08:00", "09:00"]] * 7},
    ],
)
def test_hours_that_say_nothing_clear_are_refused(
    db: psycopg.Connection, urls: Urls, hours: object
) -> None:
    query = "select private.is_working_hours(%s)"
    assert db.execute(query, (json.dumps(hours),)).fetchone() == (False,)
    acme = make_company(urls.admin, "acme")
    with pytest.raises(psycopg.errors.CheckViolation):
        db.execute(
            "update chatbots set working_hours = %s where id = %s", (json.dumps(hours), acme.bot_id)
        )


def test_a_handover_out_of_hours_waits_and_tells_when_people_are_back(
    db: psycopg.Connection, urls: Urls
) -> None:
    acme, rival = make_company(urls.admin, "acme"), make_company(urls.admin, "rival")
    now = datetime.now(UTC)
    closed = {DAYS[(now + timedelta(days=3)).weekday()]: [["08:00", "18:00"]]}
    db.execute(
        "update chatbots set working_hours = %s, timezone = 'UTC' where id = %s",
        (json.dumps(closed), acme.bot_id),
    )
    lines = {}
    for company in (acme, rival):
        open_visitor(urls.admin, company)
        conversation = db.execute(
            "insert into conversations (company_id, chatbot_id, channel_account_id, end_user_id, channel)"
            " select a.company_id, a.chatbot_id, a.id, v.id, 'web' from channel_accounts a"
            " join visitor_sessions v on v.channel_account_id = a.id where a.company_id = %s"
            " returning id",
            (company.id,),
        ).fetchone()[0]
        db.execute(
            "insert into hitl_sessions (company_id, conversation_id, chatbot_id, reason)"
            " values (%s, %s, %s, 'user_request')",
            (company.id, conversation, company.bot_id),
        )
        lines[company.name] = db.execute(
            "select m.content, c.is_hitl_active from messages m join conversations c"
            " on c.company_id = m.company_id and c.id = m.conversation_id"
            " where m.conversation_id = %s and m.sender_type = 'system'",
            (conversation,),
        ).fetchone()
    assert lines["Rival"] == ("hitl_queued", True)
    back = (now + timedelta(days=3)).strftime("%Y-%m-%d")
    assert lines["Acme"] == (f"hitl_closed:{back}T08:00", True)


def test_the_line_is_read_in_the_reader_s_language() -> None:
    line = "hitl_closed:2026-11-23T08:00"
    assert "el lunes 23 de noviembre a las 8:00" in system_text(line, "es")
    assert "on Monday, November 23 at 8:00" in system_text(line, "en")
    assert system_text("hitl_taken", "es", "Marce") == "Marce se unió al chat"
