"""The periodic jobs of retention: archive old conversations and close inactive ones."""

from __future__ import annotations

from neurant.core.db.pool import Pool
from neurant.core.logs import get_logger
from neurant.retention.queries import archive_batch, close_idle

log = get_logger(__name__)


async def run_archiving(pool: Pool) -> int:
    """Archive every old conversation, one transaction per batch; return how many."""
    archived = 0
    while True:
        async with pool.connection() as connection:
            batch = await archive_batch(connection)
        if batch is None:
            return archived
        archived += batch.conversations
        log.info(
            "conversations_archived",
            company=str(batch.company_id),
            batch=str(batch.batch_id),
            conversations=batch.conversations,
        )


async def run_closing(pool: Pool) -> int:
    """Close every conversation without a message for a day; return how many."""
    closed = 0
    while True:
        async with pool.connection() as connection:
            some = await close_idle(connection)
        if not some:
            return closed
        closed += some
        log.info("conversations_closed", conversations=some)
