"""The platform measures its queues and itself, and keeps the measures for 30 days."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from neurant.analytics.jobs import record_metrics
from neurant.core.db.pool import make_pool
from neurant.installation.embedded import Urls
from tests.analytics.facts import add_conversation
from tests.companies import make_company

LONG_AGO = datetime(2019, 1, 1, tzinfo=UTC)
TYPES = {
    "replies_owed": "count",
    "replies_oldest_age": "seconds",
    "outbox_waiting": "count",
    "outbox_oldest_age": "seconds",
    "message_changes_waiting": "count",
    "analytics_marks_waiting": "count",
    "knowledge_uses_waiting": "count",
    "database_size": "MB",
}


@pytest.fixture
def db(urls: Urls) -> Iterator[psycopg.Connection]:
    """The superuser in one transaction, rolled back: measures are of the whole platform."""
    with psycopg.connect(urls.admin) as connection:
        yield connection
        connection.rollback()


def measured(db: psycopg.Connection, now: datetime) -> dict[str, tuple[float, str]]:
    """What a round of measuring at ``now`` writes."""
    known = {row[0] for row in db.execute("select id from system_metrics").fetchall()}
    db.execute("select private.record_system_metrics(%s)", (now,))
    rows = db.execute("select id, metric_type, value, unit from system_metrics").fetchall()
    return {kind: (float(value), unit) for id_, kind, value, unit in rows if id_ not in known}


def test_queues_are_measured_by_their_length_and_their_oldest(
    urls: Urls, db: psycopg.Connection
) -> None:
    acme = make_company(urls.admin, "acme")
    before = measured(db, datetime.now(UTC))
    assert {kind: unit for kind, (_, unit) in before.items()} == TYPES
    conversation = add_conversation(db, acme, acme.bot_id, LONG_AGO)
    db.execute(
        "insert into reply_requests (company_id, conversation_id, wanted_seq, requested_at, due_at)"
        " values (%s, %s, 1, %s, now())",
        (acme.id, conversation, LONG_AGO),
    )
    after = measured(db, LONG_AGO + timedelta(hours=1))
    assert after["replies_owed"][0] == before["replies_owed"][0] + 1
    assert after["replies_oldest_age"] == (3600, "seconds")
    assert after["analytics_marks_waiting"][0] == before["analytics_marks_waiting"][0] + 1
    assert after["database_size"][0] > 1


def test_measures_are_dropped_after_thirty_days(db: psycopg.Connection) -> None:
    now = datetime(2019, 6, 1, tzinfo=UTC)
    for days in (29, 31, 400):
        db.execute(
            'insert into system_metrics (metric_type, value, "timestamp") values (%s, %s, %s)',
            ("old", days, now - timedelta(days=days)),
        )
    assert db.execute("select private.drop_old_metrics(%s)", (now,)).fetchone() == (2,)
    assert db.execute("select value from system_metrics where metric_type = 'old'").fetchall() == [
        (29,)
    ]


@pytest.mark.anyio
async def test_the_job_measures_as_the_workers_login(urls: Urls) -> None:
    count = "select count(*) from system_metrics where metric_type = 'database_size'"
    with psycopg.connect(urls.admin, autocommit=True) as db:
        (before,) = db.execute(count).fetchone()
        async with make_pool(urls.jobs, size=1, pooled=False) as pool:
            await record_metrics(pool)
        assert db.execute(count).fetchone() == (before + 1,)
