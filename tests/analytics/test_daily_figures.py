"""The figures of each day equal a recount, whatever was written, edited, erased, and in what order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    multiple,
    rule,
    run_state_machine_as_test,
)

from neurant.installation.embedded import Urls
from tests.analytics.facts import (
    add_bot,
    add_conversation,
    add_message,
    archive,
    assert_all_is_counted,
    process_changes,
    react,
    restore,
    roll_up,
)
from tests.companies import make_company

# Around the night in which Havana lives the hour after midnight twice.
START = datetime(2026, 10, 30, tzinfo=UTC)
NOON = datetime(2026, 11, 2, 17, tzinfo=UTC)
TIMEZONES = (
    "America/Bogota",
    "America/Havana",
    "Asia/Kathmandu",
    "Pacific/Kiritimati",
    "Etc/GMT+12",
)

moments = st.integers(0, 5 * 24 * 60).map(lambda minutes: START + timedelta(minutes=minutes))
senders = st.sampled_from(["bot", "human", "end_user", "system"])
amounts = st.none() | st.integers(0, 5000)
companies = st.integers(0, 1)


class Facts(RuleBasedStateMachine):
    """Two companies of two bots each, and everything that may happen to their facts."""

    urls: Urls
    conversations = Bundle("conversations")
    messages = Bundle("messages")

    @initialize()
    def begin(self) -> None:
        self.db = psycopg.connect(self.urls.admin, autocommit=True)
        self.jobs = psycopg.connect(self.urls.jobs, autocommit=True)
        self.companies = [make_company(self.urls.admin, name) for name in ("acme", "rival")]
        self.bots = [[c.bot_id, add_bot(self.db, c, "Otro")] for c in self.companies]

    def teardown(self) -> None:
        if not hasattr(self, "companies"):
            return
        process_changes(self.db)
        for company in self.companies:
            roll_up(self.jobs, company)
            assert_all_is_counted(self.db, company.id)
        self.db.close()
        self.jobs.close()

    @rule(target=conversations, at=moments, company=companies, bot=st.integers(0, 1))
    def a_conversation_begins(self, at: datetime, company: int, bot: int) -> Any:
        of = self.companies[company]
        return of, add_conversation(self.db, of, self.bots[company][bot], at)

    @rule(
        target=messages, within=conversations, at=moments, sender=senders, tokens=amounts,
        took_ms=amounts,
    )  # fmt: skip
    def a_message_is_written(
        self, within: Any, at: datetime, sender: str, tokens: int | None, took_ms: int | None
    ) -> Any:
        company, conversation = within
        live = "select from conversations where id = %s"
        if self.db.execute(live, (conversation,)).fetchone() is None:
            return multiple()
        return company, add_message(self.db, company, conversation, at, sender, tokens, took_ms)

    @rule(message=messages, at=moments, sender=senders, tokens=amounts, took_ms=amounts)
    def a_message_is_edited(
        self, message: Any, at: datetime, sender: str, tokens: int | None, took_ms: int | None
    ) -> None:
        self.db.execute(
            "update messages set created_at = %s, sender_type = %s, tokens_used = %s, processing_time_ms = %s"
            " where id = %s and sender_type <> 'human'",
            (at, sender, tokens, took_ms, message[1]),
        )

    @rule(message=consumes(messages))
    def a_message_is_erased(self, message: Any) -> None:
        for table, column in (("message_reactions", "message_id"), ("messages", "id")):
            self.db.execute(f"delete from {table} where {column} = %s", (message[1],))

    @rule(
        message=messages,
        at=moments,
        kind=st.sampled_from(["thumbs_up", "thumbs_down", "helpful"]),
        role=st.sampled_from(["owner", "supervisor"]),
    )
    def a_message_is_rated(self, message: Any, at: datetime, kind: str, role: str) -> None:
        company, id_ = message
        react(self.db, self.urls, company, role, id_, kind, at)

    @rule(message=messages)
    def a_rating_is_taken_back(self, message: Any) -> None:
        self.db.execute("delete from message_reactions where message_id = %s", (message[1],))

    @rule(
        conversation=conversations,
        at=moments,
        status=st.sampled_from(["resolved", "abandoned"]),
        minutes=st.none() | st.integers(0, 500),
    )
    def a_conversation_ends(
        self, conversation: Any, at: datetime, status: str, minutes: int | None
    ) -> None:
        self.db.execute(
            "update conversations set status = %s, ended_at = greatest(%s, started_at),"
            " session_duration_minutes = %s"
            " where id = %s and status = 'active' and not is_hitl_active",
            (status, at, minutes, conversation[1]),
        )

    @rule(conversation=conversations, began=moments, ended=moments)
    def a_conversation_is_back_dated(
        self, conversation: Any, began: datetime, ended: datetime
    ) -> None:
        self.db.execute(
            "update conversations set started_at = %s,"
            " ended_at = case when ended_at is not null then greatest(%s::timestamptz, %s) end"
            " where id = %s",
            (began, ended, began, conversation[1]),
        )

    @rule(conversation=conversations, rating=st.none() | st.integers(1, 5))
    def the_end_user_judges(self, conversation: Any, rating: int | None) -> None:
        self.db.execute(
            "update conversations set satisfaction_rating = %s where id = %s",
            (rating, conversation[1]),
        )

    @rule(conversation=conversations, at=moments)
    def a_person_is_called(self, conversation: Any, at: datetime) -> None:
        self.db.execute(
            "insert into hitl_sessions (company_id, conversation_id, chatbot_id, reason, opened_at)"
            " select company_id, id, chatbot_id, 'user_request', %s from conversations where id = %s"
            " and status = 'active' on conflict do nothing",
            (at, conversation[1]),
        )

    @rule(conversation=conversations, at=moments, status=st.sampled_from(["resolved", "abandoned"]))
    def the_person_is_done(self, conversation: Any, at: datetime, status: str) -> None:
        self.db.execute(
            "update hitl_sessions set status = %s, ended_at = greatest(%s, opened_at)"
            " where conversation_id = %s and ended_at is null",
            (status, at, conversation[1]),
        )

    @rule(within=conversations | st.none(), at=moments, company=companies, found=st.integers(0, 2))
    def documents_are_searched(self, within: Any, at: datetime, company: int, found: int) -> None:
        of, conversation = within or (self.companies[company], None)
        live = "select from conversations where id = %s"
        if within and self.db.execute(live, (conversation,)).fetchone() is None:
            return
        self.db.execute(
            "insert into knowledge_queries (company_id, conversation_id, query_text, results_count,"
            " created_at) values (%s, %s, 'x', %s, %s)",
            (of.id, conversation, found, at),
        )

    @rule(conversation=conversations)
    def a_conversation_is_archived_or_restored(self, conversation: Any) -> None:
        archive(self.db, conversation[1]) or restore(self.db, conversation[1])

    @rule(conversation=consumes(conversations))
    def a_conversation_is_erased(self, conversation: Any) -> None:
        for table in (
            "message_reactions", "knowledge_queries", "reply_requests", "outbox", "messages",
            "hitl_sessions",
        ):  # fmt: skip
            self.db.execute(f"delete from {table} where conversation_id = %s", (conversation[1],))
        self.db.execute("delete from conversations where id = %s", (conversation[1],))

    @rule(company=companies, timezone=st.sampled_from(TIMEZONES))
    def a_company_moves(self, company: int, timezone: str) -> None:
        self.db.execute(
            "update companies set timezone = %s where id = %s",
            (timezone, self.companies[company].id),
        )

    @rule()
    def everything_is_counted(self) -> None:
        process_changes(self.db)
        for company in self.companies:
            roll_up(self.jobs, company)

    @rule(limit=st.integers(1, 5))
    def search_drains_some_changes(self, limit: int) -> None:
        process_changes(self.db, limit)

    @rule(company=companies, limit=st.integers(1, 3))
    def some_days_are_counted(self, company: int, limit: int) -> None:
        self.jobs.execute(
            "select private.roll_up_analytics(%s, %s)", (self.companies[company].id, limit)
        )


def test_whatever_happens_the_days_equal_a_recount(urls: Urls) -> None:
    Facts.urls = urls
    run_state_machine_as_test(
        Facts,
        settings=settings(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
