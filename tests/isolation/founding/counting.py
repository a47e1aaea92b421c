"""Limits, counters and statistics."""

from __future__ import annotations

import calendar
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import neurant
from tests.isolation.founding.fixtures import FoundingFixture, add_conversation, document
from tests.isolation.founding.registry import defect


def answer(fixture: FoundingFixture, **more: Any) -> int | str:
    """The bot says something in acme's conversation."""
    return fixture.put("messages", company_id=fixture.acme.id, conversation_id=fixture.acme.conversation,
        content="Claro que sí", sender_type="bot", **more)  # fmt: skip


@defect(
    "D16",
    "the month's anchor drifts, and nothing begins a new month",
    drafted=(False, False),
    ours=(True, True),
)
def resets(fixture: FoundingFixture) -> Any:
    """A month that was closed late still begins on its day; something closes it."""
    today = fixture.value("select (now() at time zone 'America/Bogota')::date")
    anchor = today - timedelta(days=40)
    company = fixture.add("companies", company_id=None, name="Nueva", slug=f"n-{uuid4().hex[:8]}",
        email=f"{uuid4().hex}@n.example", monthly_reset_date=anchor)  # fmt: skip
    schema = "private." if fixture.is_ours else ""
    fixture.db.execute(f"select * from {schema}reset_monthly_message_count()")
    begun = fixture.value("select monthly_reset_date from companies where id = %s", company)
    return begun == month_start(today, anchor.day), fixture.is_ours and is_called(
        "reset_monthly_message_count"
    )


def month_start(today: date, day: int) -> date:
    """The newest anchor day up to today; the month's last where it has no such day."""
    for month in (today, today.replace(day=1) - timedelta(days=1)):
        last = calendar.monthrange(month.year, month.month)[1]
        if (start := month.replace(day=min(day, last))) <= today:
            return start
    raise AssertionError


def is_called(function: str) -> bool:
    """Whether the product's code calls a function of the database."""
    sources = Path(neurant.__file__).parent.rglob("*.py")
    return any(f"private.{function}(" in path.read_text("utf-8") for path in sources)


@defect("D17", "the limit of messages limits nothing", drafted=10, ours=3)
def exceeds_messages(fixture: FoundingFixture) -> Any:
    fixture.db.execute(
        "update companies set monthly_message_limit = 3 where id = %s", (fixture.acme.id,)
    )
    for _ in range(10):
        answer(fixture)
    return fixture.value(
        "select count(*) from messages where company_id = %s and sender_type = 'bot'",
        fixture.acme.id,
    )


@defect(
    "D18",
    "no other limit limits, and no counter counts",
    drafted=([1] * 6, False),
    ours=(["NA002"] * 6, True),
)
def exceeds_plan(fixture: FoundingFixture) -> Any:
    """One more of each, where the plan has room for none; whether the counters equal a recount."""
    acme, owner = fixture.acme, fixture.acme.people["owner"].id
    fixture.db.execute(
        "update companies set max_chatbots = 1, max_users = 4, max_integrations = 0,"
        " max_document_characters = 0, max_storage_mb = 0, max_hitl_concurrent = 0 where id = %s",
        (acme.id,),
    )
    takeover = (
        ("insert into hitl_sessions (company_id, conversation_id, chatbot_id, status, reason,"
         " operator_id) values (%s, %s, %s, 'active', 'manual', %s)",
         acme.id, acme.conversation, acme.bot, owner)
        if fixture.is_ours
        else ("update conversations set is_hitl_active = true where id = %s", acme.conversation)
    )  # fmt: skip
    more = [
        fixture.put("chatbots", company_id=acme.id, name="Otro", system_prompt="x", created_by=owner),
        fixture.put("users", company_id=acme.id, email="otro@acme.example", first_name="o", last_name="o"),
        fixture.put("integrations", company_id=acme.id, name="api", integration_type="api_webhook",
            created_by=owner),
        fixture.attempt("update documents set character_count = 10 where id = %s", acme.document),
        fixture.put("documents", **document(acme.id, owner)),
        fixture.attempt(*takeover),
    ]  # fmt: skip
    return more, fixture.value(
        "select (current_chatbot_count, current_user_count, current_integration_count) = ("
        " (select count(*) from chatbots b where b.company_id = c.id),"
        " (select count(*) from users u where u.company_id = c.id),"
        " (select count(*) from integrations i where i.company_id = c.id))"
        " from companies c where c.id = %s", acme.id,
    )  # fmt: skip


@defect(
    "D23",
    "a company's total of a day exists twice, and supervisors do not see it",
    drafted=(2, 0),
    ours=(1, 1),
)
def counts_twice(fixture: FoundingFixture) -> Any:
    for total in (10, 99):
        fixture.put("analytics_daily", company_id=fixture.acme.id, date="2025-01-01", total_messages=total,
            end_user_messages=total)  # fmt: skip
    of = "select count(*) from analytics_daily where chatbot_id is null and date = '2025-01-01'"
    rows = fixture.value(f"{of} and company_id = %s", fixture.acme.id)
    fixture.become("supervisor")
    return rows, fixture.value(of)


@defect(
    "D24",
    "counters do not follow deletes, and two are never kept",
    drafted=((0, 0), False),
    ours=((1, 4), True),
)
def forgets_deletes(fixture: FoundingFixture) -> Any:
    """What the bot is said to have had; whether a conversation's counters survive a delete."""
    acme = fixture.acme
    answer(fixture, processing_time_ms=850)
    if fixture.is_ours:
        roll_up(fixture)
    had = fixture.db.execute(
        "select total_conversations, total_messages from chatbots where id = %s", (acme.bot,)
    ).fetchone()
    if fixture.is_ours:
        fixture.db.execute("delete from outbox where company_id = %s", (acme.id,))
    fixture.db.execute("delete from messages where conversation_id = %s", (acme.conversation,))
    return had, fixture.value(
        "select message_count = 0 and bot_message_count = 0 and avg_response_time_ms = 0"
        " from conversations where id = %s", acme.conversation,
    )  # fmt: skip


def roll_up(fixture: FoundingFixture) -> None:
    """Ours: brings the statistics up to date, as the worker's jobs do."""
    for query in (
        "select private.drain_message_changes(1000)",
        f"select private.roll_up_analytics('{fixture.acme.id}', 100)",
    ):
        while fixture.db.execute(query).fetchone() != (0,):
            pass


@defect("D25", "a back-filled message is the newest", drafted=False, ours=True)
def backfills(fixture: FoundingFixture) -> Any:
    acme = fixture.acme
    old = add_conversation(fixture, acme.id, acme.bot, acme.account, "+2",
        started_at="2020-01-01", last_message_at="2020-01-01")  # fmt: skip
    fixture.add(
        "messages",
        conversation_id=old,
        content="viejo",
        sender_type="end_user",
        created_at="2020-01-02",
    )
    return fixture.value(
        "select last_message_at = '2020-01-02' from conversations where id = %s", old
    )


@defect(
    "D41",
    "who may not write the counters is not counted: triggers run as the caller",
    drafted=(1, 0),
    ours=(1, 1),
)
def counts_as_caller(fixture: FoundingFixture) -> Any:
    """Where nobody may write companies: bot messages stored, and counted."""
    acme = fixture.acme
    if fixture.is_ours:
        token = uuid4()
        fixture.db.execute(
            "insert into reply_requests (company_id, conversation_id, wanted_seq, due_at, claim_token,"
            " claimed_until) values (%s, %s, 3, now(), %s, now() + interval '1 minute')",
            (acme.id, acme.conversation, token),
        )
        fixture.as_worker()
        fixture.db.execute(
            "select * from private.finish_reply(%s, %s, 0, 3, 'answer', 'Claro')",
            (acme.conversation, token),
        )
        fixture.as_admin()
        fixture.become("owner")
        count = fixture.value("select private.message_usage(%s)", acme.id)
    else:
        fixture.db.execute("drop policy companies_isolation on companies")
        fixture.db.execute(
            "create policy companies_read on companies for select using (id = get_user_company_id())"
        )
        fixture.become("supervisor")
        answer(fixture)
        count = fixture.value("select monthly_message_count from companies")
    return fixture.value("select count(*) from messages where sender_type = 'bot'"), count
