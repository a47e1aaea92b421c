"""A limit on requests to other servers that a company causes at the same time.

No database connection is held meanwhile (``Call.outside``), so a slow server occupies only a task.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from neurant.core.db.pool import must_hold_nothing
from neurant.core.errors import RateLimitedError
from neurant.core.fair import FairGate, QueueFullError, each_loop

_AT_ONCE = 32  # in one process
_AT_ONCE_OF_COMPANY = 2
_RETRY_SECONDS = 15
_asking = each_loop(lambda: FairGate(_AT_ONCE, _AT_ONCE_OF_COMPANY))


@asynccontextmanager
async def asking_outside(company_id: UUID) -> AsyncIterator[None]:
    """Hold a slot for one request to another server.

    Raises RateLimitedError (``api.busy_outside``) if the process or the company has no free slot.
    """
    must_hold_nothing("another server")
    try:
        async with _asking().slot(company_id, waiting=0):
            yield
    except QueueFullError:
        raise RateLimitedError("api.busy_outside", seconds=_RETRY_SECONDS) from None
