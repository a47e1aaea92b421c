"""A company's facts as a test writes them, and a recount of its days that knows nothing of ours.

The recount reads plain rows and does everything else in Python: timezones by ``zoneinfo``,
sums and averages by hand.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg

from neurant.installation.embedded import Urls
from tests.companies import Company

FACTS = ("messages", "conversations", "hitl_sessions", "message_reactions", "knowledge_queries")
CompanyDay = tuple[UUID | None, date]


def add_bot(db: psycopg.Connection, company: Company, name: str) -> UUID:
    """Another bot of a company, reached by its own web chat."""
    bot = db.execute(
        "insert into chatbots (company_id, name, system_prompt, created_by)"
        " values (%s, %s, 'Responde.', %s) returning id",
        (company.id, name, company.people["owner"].id),
    ).fetchone()[0]
    db.execute(
        "insert into channel_accounts (company_id, chatbot_id, channel, routing_id, display_name)"
        " values (%s, %s, 'web', 'web-' || %s::text, 'Web')",
        (company.id, bot, bot),
    )
    return bot


def add_conversation(
    db: psycopg.Connection, company: Company, bot: UUID, started_at: datetime
) -> UUID:
    return db.execute(
        "insert into conversations (company_id, chatbot_id, channel_account_id, end_user_id, channel,"
        " started_at, last_message_at) select company_id, chatbot_id, id, gen_random_uuid()::text,"
        " channel, %s, %s from channel_accounts where company_id = %s and chatbot_id = %s"
        " and channel = 'web' limit 1 returning id",
        (started_at, started_at, company.id, bot),
    ).fetchone()[0]


def add_message(
    db: psycopg.Connection,
    company: Company,
    conversation: UUID,
    created_at: datetime,
    sender: str = "end_user",
    tokens: int | None = None,
    took_ms: int | None = None,
) -> UUID:
    return db.execute(
        "insert into messages (company_id, conversation_id, chatbot_id, channel_account_id,"
        " sender_type, content, created_at, tokens_used, processing_time_ms)"
        " select company_id, id, chatbot_id, channel_account_id, %s, 'hola', %s, %s, %s"
        " from conversations where company_id = %s and id = %s returning id",
        (sender, created_at, tokens, took_ms, company.id, conversation),
    ).fetchone()[0]


def react(
    db: psycopg.Connection,
    urls: Urls,
    company: Company,
    role: str,
    message: UUID,
    kind: str,
    created_at: datetime,
) -> None:
    """A member of the staff reacts to a message of the bot; nothing, if it is not the bot's."""
    person = company.people[role]
    claims = {"sub": str(person.auth_user_id), "company_id": str(company.id)}
    with psycopg.connect(urls.app) as staff:
        staff.execute(
            "select set_config('role', 'authenticated', true),"
            " set_config('request.jwt.claims', %s, true)",
            (json.dumps(claims),),
        )
        staff.execute(
            "insert into message_reactions (company_id, message_id, reaction_type)"
            " select company_id, id, %s from messages where id = %s and sender_type = 'bot'"
            " on conflict do nothing",
            (kind, message),
        )
    db.execute(
        "update message_reactions set created_at = %s where message_id = %s", (created_at, message)
    )


def archive(db: psycopg.Connection, conversation: UUID) -> bool:
    """Move a conversation into the archives; False if it is not one that may go, or not there."""
    return (
        db.execute(
            "select private.move_conversations(company_id, array[id], '', '_archived', now())"
            " from conversations where id = %s and status <> 'active'"
            " and not private.has_open_work(company_id, id)",
            (conversation,),
        ).fetchone()
        is not None
    )


def restore(db: psycopg.Connection, conversation: UUID) -> bool:
    """Bring it back; False if it is not archived."""
    return (
        db.execute(
            "select private.move_conversations(company_id, array[id], '_archived', '', now())"
            " from conversations_archived where id = %s",
            (conversation,),
        ).fetchone()
        is not None
    )


def process_changes(db: psycopg.Connection, limit: int = 1000) -> None:
    """Take what is there off the log of changed messages, or only some of it."""
    while db.execute("select private.drain_message_changes(%s)", (limit,)).fetchone()[0]:
        if limit < 1000:
            break


def roll_up(db: psycopg.Connection, company: Company, limit: int = 50) -> int:
    """Count a company's changed days again; how many."""
    days = 0
    query = "select private.roll_up_analytics(%s, %s)"
    while counted := db.execute(query, (company.id, limit)).fetchone()[0]:
        days += counted
    return days


def shown(db: psycopg.Connection, company: UUID) -> dict[CompanyDay, dict[str, Any]]:
    """What analytics_daily says of a company."""
    cursor = db.execute("select * from analytics_daily where company_id = %s", (company,))
    names = [column.name for column in cursor.description]
    rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    found = {(row["chatbot_id"], row["date"]): row for row in rows}
    assert len(found) == len(rows)
    for row in rows:
        for ours in ("company_id", "id", "chatbot_id", "date", "created_at"):
            del row[ours]
    return found


def read(db: psycopg.Connection, table: str, company: UUID) -> list[dict[str, Any]]:
    """All rows of a fact, wherever they lie."""
    rows = []
    for name in (table, f"{table}_archived"):
        cursor = db.execute(f"select * from {name} where company_id = %s", (company,))
        names = [column.name for column in cursor.description]
        rows += [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return rows


def recount(db: psycopg.Connection, company: UUID) -> dict[CompanyDay, dict[str, Any]]:
    """What analytics_daily ought to say of a company."""
    zone = ZoneInfo(
        db.execute("select timezone from companies where id = %s", (company,)).fetchone()[0]
    )
    facts = {name: read(db, name, company) for name in FACTS}
    bots = {c["id"]: c["chatbot_id"] for c in facts["conversations"]}
    happened: dict[CompanyDay, list[tuple[str, Any]]] = defaultdict(list)

    def note(bot: UUID | None, moment: datetime, kind: str, value: Any = None) -> None:
        day = moment.astimezone(zone).date()
        for key in {bot, None}:
            happened[key, day].append((kind, value))

    for m in facts["messages"]:
        note(m["chatbot_id"], m["created_at"], "message", m)
    taken = {s["conversation_id"] for s in facts["hitl_sessions"]}
    for c in facts["conversations"]:
        note(c["chatbot_id"], c["started_at"], "began")
        if c["ended_at"]:
            note(c["chatbot_id"], c["ended_at"], "ended", c["session_duration_minutes"])
            if c["status"] != "abandoned":
                note(c["chatbot_id"], c["ended_at"], "resolved")
        if c["satisfaction_rating"]:
            value = (c["satisfaction_rating"], c["id"] in taken)
            note(c["chatbot_id"], c["ended_at"] or c["started_at"], "rated", value)
    for s in facts["hitl_sessions"]:
        note(s["chatbot_id"], s["opened_at"], "escalated")
        if s["status"] == "resolved":
            minutes = Decimal((s["ended_at"] - s["opened_at"]).total_seconds()) / 60
            note(s["chatbot_id"], s["ended_at"], "helped", minutes)
    for r in facts["message_reactions"]:
        if r["reaction_type"].startswith("thumbs"):
            note(r["chatbot_id"], r["created_at"], r["reaction_type"])
    for q in facts["knowledge_queries"]:
        note(bots.get(q["conversation_id"]), q["created_at"], "asked", q["results_count"] > 0)
    return {key: figures(values) for key, values in happened.items()}


def figures(happened: list[tuple[str, Any]]) -> dict[str, Any]:
    """The columns of analytics_daily, of what happened on one day."""
    by_kind: dict[str, list[Any]] = defaultdict(list)
    for kind, value in happened:
        by_kind[kind].append(value)
    messages = by_kind["message"]
    senders = [m["sender_type"] for m in messages]
    times = [m["processing_time_ms"] for m in messages if m["sender_type"] == "bot"]
    times = [ms for ms in times if ms is not None]
    ratings = [rating for rating, _ in by_kind["rated"]]
    hits = sum(by_kind["asked"])
    return {
        "total_messages": len(messages),
        "bot_messages": senders.count("bot"),
        "human_messages": senders.count("human"),
        "end_user_messages": senders.count("end_user"),
        "new_conversations": len(by_kind["began"]),
        "active_conversations": len({m["conversation_id"] for m in messages}),
        "resolved_conversations": len(by_kind["resolved"]),
        "avg_conversation_duration_minutes": average(m for m in by_kind["ended"] if m is not None),
        "hitl_escalations": len(by_kind["escalated"]),
        "hitl_resolution_time_minutes": average(by_kind["helped"]),
        "hitl_satisfaction_avg": average(rating for rating, taken in by_kind["rated"] if taken),
        "avg_response_time_ms": average(times, "1"),
        "response_time_total_ms": sum(times),
        "response_time_count": len(times),
        "total_tokens_used": sum(m["tokens_used"] or 0 for m in messages),
        "satisfaction_ratings": len(ratings),
        "satisfaction_total": sum(ratings),
        "satisfaction_avg": average(ratings),
        "thumbs_up": len(by_kind["thumbs_up"]),
        "thumbs_down": len(by_kind["thumbs_down"]),
        "knowledge_queries": len(by_kind["asked"]),
        "knowledge_hits": hits,
        "knowledge_hit_rate": average([100] * hits + [0] * (len(by_kind["asked"]) - hits)),
    }


def average(values: Iterable[Any], unit: str = "0.01") -> Decimal | None:
    numbers = [Decimal(value) for value in values]
    if not numbers:
        return None
    return (sum(numbers) / len(numbers)).quantize(Decimal(unit), ROUND_HALF_UP)


def cached(db: psycopg.Connection, company: UUID) -> dict[UUID, tuple[Any, ...]]:
    """The figures that the bots carry themselves."""
    rows = db.execute(
        "select id, total_conversations, total_messages, avg_response_time_ms, satisfaction_score"
        " from chatbots where company_id = %s",
        (company,),
    ).fetchall()
    return {row[0]: row[1:] for row in rows}


def recount_cached(db: psycopg.Connection, company: UUID) -> dict[UUID, tuple[Any, ...]]:
    """What those figures ought to be."""
    facts = {name: read(db, name, company) for name in ("messages", "conversations")}
    expected = {}
    for bot in cached(db, company):
        messages = [m for m in facts["messages"] if m["chatbot_id"] == bot]
        times = [m["processing_time_ms"] for m in messages if m["sender_type"] == "bot"]
        conversations = [c for c in facts["conversations"] if c["chatbot_id"] == bot]
        ratings = [c["satisfaction_rating"] for c in conversations if c["satisfaction_rating"]]
        expected[bot] = (
            len(conversations),
            len(messages),
            average((ms for ms in times if ms is not None), "1") or 0,
            average(ratings) or 0,
        )
    return expected


def assert_all_is_counted(db: psycopg.Connection, company: UUID) -> None:
    assert shown(db, company) == recount(db, company)
    assert cached(db, company) == recount_cached(db, company)
