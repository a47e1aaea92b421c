"""The periodic jobs of the statistics.

``analytics_daily`` follows the facts through two logs: ``message_changes`` (which the search job
drains, marking the affected days) and ``analytics_dirty``, which is drained here.
"""

from __future__ import annotations

from uuid import UUID

from neurant.analytics import queries
from neurant.core.db.pool import DatabaseDown, Pool
from neurant.core.logs import get_logger

_DAY_BATCH_SIZE = 50  # about a second per transaction, even for a large company
_USE_BATCH_SIZE = 1000

log = get_logger(__name__)


async def run_rollup(pool: Pool) -> int:
    """Recompute every changed day, one transaction per batch; return how many days.

    A company whose computation fails is logged and tried again in the next run; the others
    continue.
    """
    async with pool.connection() as connection:
        companies = await queries.companies_to_roll_up(connection)
    days = 0
    for company_id in companies:
        try:
            days += await _roll_up(pool, company_id)
        except DatabaseDown:
            raise
        except Exception:
            log.exception("rollup_failed", company=str(company_id))
    return days


async def _roll_up(pool: Pool, company_id: UUID) -> int:
    days = 0
    while True:
        async with pool.connection() as connection:
            counted = await queries.roll_up(connection, company_id, _DAY_BATCH_SIZE)
        days += counted
        if counted < _DAY_BATCH_SIZE:
            return days


async def count_knowledge_uses(pool: Pool) -> int:
    """Update the use counters of documents and passages; return how many answers were added."""
    answers = 0
    while True:
        async with pool.connection() as connection:
            counted = await queries.count_knowledge_uses(connection, _USE_BATCH_SIZE)
        answers += counted
        if counted < _USE_BATCH_SIZE:
            return answers


async def record_metrics(pool: Pool) -> None:
    """Record metrics of the queues and the database."""
    async with pool.connection() as connection:
        await queries.record_metrics(connection)
