"""Statistics and measures over the API."""

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
    """Each day of each bot, and the company's totals (``chatbot_id`` null), the newest first.

    An operador sees the bots that are assigned to them, and no totals.
    """
    data, cursor = await read_queries.list_days(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@router.get("/analytics/summary")
async def sum_up_analytics(call: Reading, query: Annotated[SummaryQuery, Query()]) -> SummaryOut:
    """The sums over some days, of one bot or of all that the caller may see."""
    return await read_queries.sum_up(call.connection, query)


@router.get("/metrics")
async def list_metrics(
    call: Annotated[Call, needs("metrics.read")], query: Annotated[MetricQuery, Query()]
) -> Page[Metric]:
    """Measures of the system that are about the company, the newest first."""
    data, cursor = await read_queries.list_metrics(call.connection, query)
    return Page(data=data, next_cursor=cursor)
