"""Asking somebody else's server during a call, which holds a connection meanwhile: few at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from neurant.errors import RateLimitedError

_AT_ONCE = 2  # in a process: their server may be slow, and the others' calls need connections too
_RETRY_SECONDS = 15
_asking = asyncio.Semaphore(_AT_ONCE)


@asynccontextmanager
async def asking_outside() -> AsyncIterator[None]:
    """For the time of the question. Raises RateLimitedError where as many ask as may."""
    if _asking.locked():
        raise RateLimitedError("api.busy_outside", seconds=_RETRY_SECONDS)
    async with _asking:
        yield
