"""The SQL of the statistics for all companies, called by the worker."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from neurant.core.db.pool import Connection, fetch_all, fetch_count

_COMPANIES = "select c as id from private.companies_to_roll_up() c"


@dataclass(frozen=True, slots=True)
class CompanyRow:
    """A company with days to recompute."""

    id: UUID


async def companies_to_roll_up(connection: Connection) -> list[UUID]:
    """Return the companies whose facts changed since their days were computed."""
    return [row.id for row in await fetch_all(connection, CompanyRow, _COMPANIES)]


async def roll_up(connection: Connection, company_id: UUID, limit: int) -> int:
    """Recompute at most ``limit`` changed days of a company; return how many."""
    return await fetch_count(
        connection, "select private.roll_up_analytics(%s, %s)", (company_id, limit)
    )


async def count_knowledge_uses(connection: Connection, limit: int) -> int:
    """Add at most ``limit`` answers to the counters of what they quote; return how many."""
    return await fetch_count(connection, "select private.count_knowledge_uses(%s)", (limit,))


async def record_metrics(connection: Connection) -> None:
    """Record metrics of the queues and the database, and delete expired ones."""
    await connection.execute("select private.record_system_metrics()")
    await connection.execute("select private.drop_old_metrics()")
