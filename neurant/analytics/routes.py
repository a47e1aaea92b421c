"""The JSON endpoints of daily statistics and system metrics."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from neurant.analytics import read_queries
from neurant.analytics.schemas import (
    DayOut,
    DayQuery,
    Metric,
    MetricQuery,
    SummaryOut,
    SummaryQuery,
)
from neurant.api.call import Call, needs
from neurant.api.listing import Page
from neurant.api.route import api_router

router = api_router("analytics")
Reading = Annotated[Call, needs("analytics.read")]


@router.get("/analytics")
async def list_analytics(call: Reading, query: Annotated[DayQuery, Query()]) -> Page[DayOut]:
    """List the daily statistics of each bot and of the company (``chatbot_id`` null).

    Every member of the company may call it. An operador sees only the bots that are assigned to
    them, and no company totals.
    """
    data, cursor = await read_queries.list_days(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@router.get("/analytics/summary")
async def sum_up_analytics(call: Reading, query: Annotated[SummaryQuery, Query()]) -> SummaryOut:
    """Sum the daily statistics of a range of days, of one bot or of every visible bot.

    Every member of the company may call it. An operador's sums cover only the bots that are
    assigned to them.
    """
    return await read_queries.sum_up(call.connection, query)


@router.get("/metrics")
async def list_metrics(
    call: Annotated[Call, needs("metrics.read")], query: Annotated[MetricQuery, Query()]
) -> Page[Metric]:
    """List the system metrics that concern the company, the newest first.

    The owner and administradores may call it.
    """
    data, cursor = await read_queries.list_metrics(call.connection, query)
    return Page(data=data, next_cursor=cursor)
