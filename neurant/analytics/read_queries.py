"""The statistics as the staff reads them; an operador reads those of assigned bots only."""

from __future__ import annotations

from typing import LiteralString

from neurant.analytics.schemas import (
    DayOut,
    DayQuery,
    Metric,
    MetricQuery,
    SummaryOut,
    SummaryQuery,
)
from neurant.api.listing import Listing, Sort, fetch_page
from neurant.core.db.pool import Connection, fetch_one

_DAYS = Listing(
    select="""
select d.id, d.chatbot_id, d.date, d.total_messages, d.bot_messages, d.human_messages,
  d.end_user_messages, d.new_conversations, d.active_conversations, d.resolved_conversations,
  d.avg_conversation_duration_minutes, d.hitl_escalations, d.hitl_resolution_time_minutes,
  d.hitl_satisfaction_avg, d.avg_response_time_ms, d.total_tokens_used, d.satisfaction_ratings,
  d.satisfaction_avg, d.thumbs_up, d.thumbs_down, d.knowledge_queries, d.knowledge_hits,
  d.knowledge_hit_rate
from public.analytics_daily d
""".strip(),
    sorts={"date": Sort("d.date", "date", "date")},
    id="d.id",
)
# Summed over the bots' rows, because a caller who sees only some bots has no company rows.
_SUMMARY = """
select count(distinct d.date) as days,
  coalesce(sum(d.total_messages), 0) as total_messages,
  coalesce(sum(d.bot_messages), 0) as bot_messages,
  coalesce(sum(d.human_messages), 0) as human_messages,
  coalesce(sum(d.end_user_messages), 0) as end_user_messages,
  coalesce(sum(d.new_conversations), 0) as new_conversations,
  coalesce(sum(d.resolved_conversations), 0) as resolved_conversations,
  coalesce(sum(d.hitl_escalations), 0) as hitl_escalations,
  coalesce(sum(d.total_tokens_used), 0) as total_tokens_used,
  coalesce(sum(d.satisfaction_ratings), 0) as satisfaction_ratings,
  round(sum(d.satisfaction_total)::numeric / nullif(sum(d.satisfaction_ratings), 0), 2)
    as satisfaction_avg,
  coalesce(sum(d.thumbs_up), 0) as thumbs_up,
  coalesce(sum(d.thumbs_down), 0) as thumbs_down,
  coalesce(sum(d.knowledge_queries), 0) as knowledge_queries,
  coalesce(sum(d.knowledge_hits), 0) as knowledge_hits,
  round(sum(d.knowledge_hits) * 100.0 / nullif(sum(d.knowledge_queries), 0), 2)
    as knowledge_hit_rate,
  round(sum(d.response_time_total_ms)::numeric / nullif(sum(d.response_time_count), 0), 1)
    as avg_response_time_ms
from public.analytics_daily d
where d.chatbot_id is not null
  and (%(chatbot_id)s::uuid is null or d.chatbot_id = %(chatbot_id)s)
  and (%(since)s::date is null or d.date >= %(since)s)
  and (%(until)s::date is null or d.date <= %(until)s)
"""
_METRICS = Listing(
    select="""
select m.id, m.timestamp, m.metric_type, m.value, m.unit, m.labels, m.chatbot_id
from public.system_metrics m
""".strip(),
    sorts={"timestamp": Sort("m.timestamp", "timestamptz", "timestamp")},
    id="m.id",
)


async def list_days(connection: Connection, query: DayQuery) -> tuple[list[DayOut], str | None]:
    """Return a page of the days that the caller may see, and the next cursor."""
    conditions: list[LiteralString] = []
    if query.chatbot_id is not None:
        conditions.append("d.chatbot_id = %(chatbot_id)s")
    if query.totals is not None:
        conditions.append("(d.chatbot_id is null) = %(totals)s")
    if query.since is not None:
        conditions.append("d.date >= %(since)s")
    if query.until is not None:
        conditions.append("d.date <= %(until)s")
    return await fetch_page(
        connection, DayOut, _DAYS, query, query.sort, conditions, query.model_dump()
    )


async def sum_up(connection: Connection, query: SummaryQuery) -> SummaryOut:
    """Return the sums over the bots that the caller may see."""
    found = await fetch_one(connection, SummaryOut, _SUMMARY, query.model_dump())
    assert found is not None  # noqa: S101 - an aggregate always returns a row
    return found


async def list_metrics(
    connection: Connection, query: MetricQuery
) -> tuple[list[Metric], str | None]:
    """Return a page of the company's metrics and the next cursor."""
    conditions: list[LiteralString] = []
    if query.metric_type is not None:
        conditions.append("m.metric_type = %(metric_type)s")
    if query.chatbot_id is not None:
        conditions.append("m.chatbot_id = %(chatbot_id)s")
    if query.since is not None:
        conditions.append("m.timestamp >= %(since)s")
    if query.until is not None:
        conditions.append("m.timestamp < %(until)s")
    return await fetch_page(
        connection, Metric, _METRICS, query, query.sort, conditions, query.model_dump()
    )
