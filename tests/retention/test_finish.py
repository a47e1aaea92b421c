"""A conversation ends after a day of silence, never runs backwards, and the next message opens a new one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company
from tests.retention.old_conversations import ConversationShape, make_conversation

STATES = ("active", "resolved", "abandoned", "archived")
ALLOWED = {
    ("active", "resolved"), ("active", "abandoned"), ("resolved", "archived"),
    ("abandoned", "archived"),
}  # fmt: skip


@pytest.fixture(scope="module")
def two(urls: Urls) -> tuple[Company, Company]:
    return make_company(urls.admin, "acme"), make_company(urls.admin, "rival")


@pytest.fixture
def db(urls: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(urls.admin, autocommit=True) as connection:
        yield connection


def silent(
    db: psycopg.Connection, company: Company, last: str = "bot", hours: float = 25, **shape: object
) -> UUID:
    """An open conversation in which nothing has been said for these hours."""
    speakers = ["end_user", last] if last else []
    conversation = make_conversation(
        db,
        company,
        ConversationShape(speakers, status="active", days_ago=0, takeover=False, **shape),
    )
    db.execute(
        "update conversations set started_at = now() - make_interval(hours => %s) - interval '7 minutes',"
        " last_message_at = now() - make_interval(secs => %s * 3600) where id = %s",
        (int(hours), hours, conversation),
    )
    return conversation


def close(urls: Urls) -> None:
    with psycopg.connect(urls.jobs, autocommit=True) as jobs:
        while jobs.execute("select private.close_idle_conversations()").fetchone()[0]:
            pass


def status(db: psycopg.Connection, conversation: UUID) -> str:
    return db.execute(
        "select status::text from conversations where id = %s", (conversation,)
    ).fetchone()[0]


@pytest.mark.parametrize(
    ("last", "becomes"),
    [("bot", "resolved"), ("human", "resolved"), ("system", "resolved"), ("end_user", "abandoned"),
     ("", "abandoned")],
)  # fmt: skip
def test_after_a_day_of_silence_it_ends_by_who_spoke_last(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company], last: str, becomes: str
) -> None:
    over = [silent(db, company, last) for company in two]
    fresh = [silent(db, company, last, hours=23.9) for company in two]
    close(urls)
    assert [status(db, one) for one in over] == [becomes] * 2
    assert [status(db, one) for one in fresh] == ["active"] * 2
    ended, minutes = db.execute(
        "select ended_at > now() - interval '1 minute', session_duration_minutes"
        " from conversations where id = %s",
        (over[0],),
    ).fetchone()
    assert ended
    assert minutes == 7


@pytest.mark.parametrize(
    "work",
    [
        "insert into reply_requests (company_id, conversation_id, wanted_seq, due_at)"
        " values (%(company)s, %(conversation)s, 1, now())",
        "update outbox set status = 'pending' where conversation_id = %(conversation)s",
        "insert into hitl_sessions (company_id, conversation_id, chatbot_id, reason)"
        " values (%(company)s, %(conversation)s, %(bot)s, 'user_request')",
    ],
)
def test_what_somebody_waits_for_does_not_end(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company], work: str
) -> None:
    conversation = silent(db, two[0], "bot")
    ended = silent(db, two[1], "bot")
    db.execute(work, {"company": two[0].id, "conversation": conversation, "bot": two[0].bot_id})
    db.execute(
        "update conversations set last_message_at = now() - interval '3 days' where id = %s",
        (conversation,),
    )
    before = db.execute("select array_agg(h) from hitl_sessions h").fetchone()
    close(urls)
    assert (status(db, conversation), status(db, ended)) == ("active", "resolved")
    assert db.execute("select array_agg(h) from hitl_sessions h").fetchone() == before


def test_a_message_that_arrives_at_the_same_moment_keeps_it_open(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    conversation = silent(db, two[0], "bot")
    with psycopg.connect(urls.admin) as writer:
        writer.execute(
            "update conversations set last_message_at = now() where id = %s", (conversation,)
        )
        close(urls)  # passes over what is locked
        assert status(db, conversation) == "active"
    close(urls)
    assert status(db, conversation) == "active"


def ingest(urls: Urls, company: Company, user: str) -> tuple[UUID, int]:
    credential = hashlib.sha256(company.telegram_secret.encode()).digest()
    with psycopg.connect(urls.app, autocommit=True) as app:
        return app.execute(
            "select conversation_id, seq from private.ingest(array[%s], array['telegram'],"
            " array[%s::bytea], array[%s], array['Ana'], array[%s], array['text'], array['Hola'],"
            " array[null::text])",
            (company.telegram, credential, user, str(uuid4())),
        ).fetchone()


def test_the_next_message_opens_a_new_conversation(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    acme, rival = two
    user = str(uuid4().int)
    first, _ = ingest(urls, acme, user)
    other, _ = ingest(urls, rival, user)
    db.execute("delete from reply_requests where conversation_id = any (%s)", ([first, other],))
    db.execute(
        "update conversations set last_message_at = now() - interval '2 days' where id = %s",
        (first,),
    )
    close(urls)
    assert (status(db, first), status(db, other)) == ("abandoned", "active")
    second, seq = ingest(urls, acme, user)
    assert second != first
    assert seq == 1
    assert ingest(urls, acme, user) == (second, 2)
    assert ingest(urls, rival, user)[0] == other
    assert status(db, first) == "abandoned"


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(wanted=st.lists(st.sampled_from(STATES), min_size=1, max_size=6))
def test_status_never_runs_backwards(
    db: psycopg.Connection, two: tuple[Company, Company], wanted: list[str]
) -> None:
    conversation = silent(db, two[0], "bot")
    now, ended = "active", None
    for state in wanted:
        try:
            db.execute("update conversations set status = %s where id = %s", (state, conversation))
            assert state == now or (now, state) in ALLOWED
            now = state
        except psycopg.errors.CheckViolation:
            assert state != now
            assert (now, state) not in ALLOWED
        stored, at = db.execute(
            "select status::text, ended_at from conversations where id = %s", (conversation,)
        ).fetchone()
        assert stored == now
        assert (at is None) == (now == "active")
        assert ended is None or at == ended
        ended = at


def test_a_finished_conversation_has_nobody_in_it(
    db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    conversation = silent(db, two[0], "bot")
    db.execute(
        "insert into hitl_sessions (company_id, conversation_id, chatbot_id, reason)"
        " values (%s, %s, %s, 'manual')",
        (two[0].id, conversation, two[0].bot_id),
    )
    with pytest.raises(psycopg.errors.CheckViolation):
        db.execute("update conversations set status = 'resolved' where id = %s", (conversation,))
    db.execute(
        "update hitl_sessions set status = 'resolved', ended_at = now() where conversation_id = %s",
        (conversation,),
    )
    db.execute("update conversations set status = 'resolved' where id = %s", (conversation,))


def test_closing_is_the_workers_alone(urls: Urls) -> None:
    with psycopg.connect(urls.app) as app, pytest.raises(psycopg.errors.InsufficientPrivilege):
        app.execute("select private.close_idle_conversations()")
