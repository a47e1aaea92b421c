"""A limit on requests to other servers that a company causes at the same time.

No database connection is held meanwhile (``Call.without_connection``), so a slow server occupies
only a task.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from neurant.core.db.pool import must_hold_nothing
from neurant.core.errors import RateLimitedError
from neurant.core.fair import FairGate, QueueFullError, each_loop

_MAX_CONCURRENT_REQUESTS = 32  # in one process
_MAX_CONCURRENT_REQUESTS_PER_COMPANY = 2
_RETRY_SECONDS = 15
_asking = each_loop(
    lambda: FairGate(_MAX_CONCURRENT_REQUESTS, _MAX_CONCURRENT_REQUESTS_PER_COMPANY)
)


@asynccontextmanager
async def outbound_slot(company_id: UUID) -> AsyncIterator[None]:
    """Hold a slot for one request to another server.

    Raises RateLimitedError (``api.busy_outside``) if the process or the company has no free slot.
    """
    must_hold_nothing("another server")
    try:
        async with _asking().slot(company_id, waiting=0):
            yield
    except QueueFullError:
        raise RateLimitedError("api.busy_outside", seconds=_RETRY_SECONDS) from None
