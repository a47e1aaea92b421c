"""What is known of a message's delivery never becomes less, in whatever order it is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neurant.installation.embedded import Urls
from tests.companies import Company, make_company

STATES = ("pending", "sent", "delivered", "read", "failed", "unknown", "cancelled")
# From each state, where an event may lead; every other event changes nothing.
FORWARDS = {
    "pending": set(STATES),
    "sent": {"delivered", "read", "failed"},
    "delivered": {"read"},
    "read": set(),
    "unknown": {"pending", "sent", "delivered", "read", "failed"},
    "failed": {"pending", "delivered", "read"},
    "cancelled": set(),
}
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MOMENTS = st.none() | st.integers(-600, 600).map(lambda minutes: NOON + timedelta(minutes=minutes))


@pytest.fixture(scope="module")
def companies(urls: Urls) -> tuple[Company, Company]:
    return make_company(urls.admin, "acme"), make_company(urls.admin, "rival")


def send(db: psycopg.Connection, company: Company) -> UUID:
    """A message that waits to go out by Telegram."""
    conversation = db.execute(
        "insert into conversations (company_id, chatbot_id, channel_account_id, end_user_id, channel)"
        " select company_id, chatbot_id, id, gen_random_uuid()::text, channel from channel_accounts"
        " where company_id = %s and channel = 'telegram' returning id",
        (company.id,),
    ).fetchone()[0]
    return db.execute(
        "insert into messages (company_id, conversation_id, sender_type, content)"
        " values (%s, %s, 'bot', 'hola') returning id",
        (company.id, conversation),
    ).fetchone()[0]


def state(db: psycopg.Connection, message: UUID) -> tuple[str, datetime | None, datetime | None]:
    return db.execute(
        "select status::text, delivered_at, read_at from messages where id = %s", (message,)
    ).fetchone()


@settings(max_examples=60, deadline=None)
@given(
    events=st.lists(st.tuples(st.sampled_from(STATES), MOMENTS, MOMENTS), min_size=1, max_size=12)
)
def test_random_events_only_ever_add_to_what_is_known(
    urls: Urls,
    companies: tuple[Company, Company],
    events: list[tuple[str, datetime | None, datetime | None]],
) -> None:
    acme, rival = companies
    with psycopg.connect(urls.admin) as db:
        message, others = send(db, acme), send(db, rival)
        expected = "pending"
        for told, delivered, read in events:
            before = state(db, message)
            assert before[0] == expected
            db.execute(
                "update messages set status = %s, delivered_at = coalesce(%s, delivered_at),"
                " read_at = coalesce(%s, read_at) where company_id = %s and id = %s",
                (told, delivered, read, acme.id, message),
            )
            expected = told if told in FORWARDS[expected] else expected
            status, delivered_at, read_at = state(db, message)
            assert status == expected
            assert (delivered_at is not None) == (status in ("delivered", "read"))
            assert (read_at is not None) == (status == "read")
            if read_at:
                assert read_at >= delivered_at
            for known, now in zip(before[1:], (delivered_at, read_at), strict=True):
                assert known in (None, now), "a moment is written once"
        assert state(db, others)[0] == "pending"


def test_a_message_is_never_stored_in_a_state_that_contradicts_itself(
    urls: Urls, companies: tuple[Company, Company]
) -> None:
    acme, _ = companies
    for column, value in (
        ("status", "read"),
        ("status", "delivered"),
        ("delivered_at", "2026-01-01"),
        ("read_at", "2026-01-01"),
    ):
        with psycopg.connect(urls.admin) as db:
            message = send(db, acme)
            with pytest.raises(psycopg.errors.CheckViolation):
                db.execute(
                    "insert into messages (company_id, conversation_id, chatbot_id,"
                    f" channel_account_id, seq, sender_type, content, {column}) select company_id,"
                    " conversation_id, chatbot_id, channel_account_id, 99, sender_type, content, %s"
                    " from messages where id = %s",
                    (value, message),
                )


def test_what_has_arrived_after_all_is_not_sent_again(
    urls: Urls, companies: tuple[Company, Company]
) -> None:
    acme, _ = companies
    resend = "select private.resend_message(%s)"
    with psycopg.connect(urls.admin) as db:
        arrived, lost = send(db, acme), send(db, acme)
        for message in (arrived, lost):
            db.execute("update outbox set status = 'unknown' where message_id = %s", (message,))
            db.execute("update messages set status = 'unknown' where id = %s", (message,))
        db.execute("update messages set status = 'delivered' where id = %s", (arrived,))
    with psycopg.connect(urls.app) as db:
        owner = acme.staff("owner")
        db.execute(
            "select set_config('role', 'authenticated', true), set_config('request.jwt.claims',"
            " jsonb_build_object('sub', %s::text, 'company_id', %s::text)::text, true)",
            (owner.auth_user_id, owner.company_id),
        )
        assert db.execute(resend, (arrived,)).fetchone() == ("not_resendable",)
        assert db.execute(resend, (lost,)).fetchone() == ("resent",)
