"""The limit on the requests of a company: the number per minute of its plan, for all its callers.

Each company has a token bucket. A minute's worth of requests may come at once, then one token
returns every ``60 / number`` seconds. The bucket is in the database, so that it covers all web
processes and survives a restart. A process leases a thirtieth of the number at a time, so that at
most one request in thirty asks the database. The processes together never grant more than the
number; n processes grant at most n thirtieths less.

The headers follow the IETF draft "RateLimit header fields for HTTP".
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field
from typing import LiteralString
from uuid import UUID

from fastapi import Request, Response

from neurant.core.clock import monotonic
from neurant.core.db.pool import Pool, fetch_one
from neurant.core.db.tenancy import Caller
from neurant.core.errors import RateLimitedError
from neurant.core.services import services_of

_WINDOW = 60.0  # seconds
_SHARES = 30
_SMALLEST = 300  # requests per minute of the smallest plan; its share is valid for every plan
_MAX_COMPANIES = 10_000
_LEASE = "select leased, remaining, wait_seconds from private.lease_requests(%s, %s)"
PAGES = "select leased, remaining, wait_seconds from private.lease_page_requests(%s, %s)"


@dataclass(frozen=True, slots=True)
class _Leased:
    leased: int
    remaining: int
    wait_seconds: float


@dataclass(slots=True)
class _Share:
    """The part of a company's bucket that a process has leased."""

    tokens: int = 0
    remaining: int = 0  # tokens in the bucket at the last lease
    good_until: float = 0.0
    none_until: float = 0.0  # the bucket is empty until then
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Rates:
    """The leased shares of one web process. ``pool`` leads to the primary and serves nothing else.

    ``lease`` selects the bucket: that of the API, or that of the console's pages (``PAGES``).
    """

    def __init__(self, pool: Pool, lease: LiteralString = _LEASE) -> None:
        self._pool, self._lease = pool, lease
        self._shares: dict[UUID, _Share] = {}

    def take_at_hand(self, company: UUID) -> int | None:
        """Take a token of this process; return how many are left, or None if it has none."""
        share = self._shares.get(company)
        if share is None or not share.tokens or monotonic() > share.good_until:
            return None
        share.tokens -= 1
        return share.tokens + share.remaining

    async def take(self, company: UUID, number: int) -> tuple[int, float]:
        """Take a token; return how many are left, and the seconds to wait (0: a token was
        taken).
        """
        share = self._shares.get(company) or self._begin(company)
        if not share.tokens or monotonic() > share.good_until:
            async with share.asking:
                now = monotonic()
                if now < share.none_until:
                    return 0, share.none_until - now
                if not share.tokens or now > share.good_until:
                    await self._ask(company, share, max(1, number // _SHARES))
        if not share.tokens:
            return 0, max(share.none_until - monotonic(), 0.001)
        share.tokens -= 1
        return share.tokens + share.remaining, 0.0

    def _begin(self, company: UUID) -> _Share:
        if len(self._shares) >= _MAX_COMPANIES:  # the oldest company loses at most one share
            self._shares.pop(next(iter(self._shares)))
        return self._shares.setdefault(company, _Share())

    async def _ask(self, company: UUID, share: _Share, size: int) -> None:
        async with self._pool.connection() as connection:
            got = await fetch_one(connection, _Leased, self._lease, (company, size))
        now = monotonic()
        if got is None:  # the company was erased a moment ago
            share.tokens, share.remaining, share.none_until = 0, 0, now + 1
            return
        share.tokens, share.remaining = got.leased, got.remaining
        share.good_until, share.none_until = now + _WINDOW, now + got.wait_seconds


@dataclass(frozen=True, slots=True)
class RequestRates:
    """The rates of one web process: of the API, and of the console's pages."""

    api: Rates
    pages: Rates


def take_at_hand(request: Request, caller: Caller) -> bool:
    """Count a request of a caller if this process has a token; return whether it had one."""
    rates = services_of(request).get(RequestRates).api
    left = rates.take_at_hand(caller.company_id)
    if left is None:
        return False
    number = caller.requests_per_minute
    request.state.rate = (number, left, math.ceil(_WINDOW / number))
    return True


async def take(request: Request, caller: Caller) -> None:
    """Count a request of a caller who holds no connection. Raises RateLimitedError."""
    rates = services_of(request).get(RequestRates).api
    number = caller.requests_per_minute
    left, wait = await rates.take(caller.company_id, number)
    request.state.rate = (number, left, math.ceil(_WINDOW / number))
    if wait > 0:
        raise RateLimitedError("api.rate_limited", seconds=math.ceil(wait), number=number)


async def take_page(request: Request, company_id: UUID) -> None:
    """Count a page of the console. Raises RateLimitedError."""
    rates = services_of(request).get(RequestRates).pages
    left = rates.take_at_hand(company_id)
    if left is None:
        _, wait = await rates.take(company_id, _SMALLEST)
        if wait > 0:
            raise RateLimitedError("api.pages_limited", seconds=math.ceil(wait))
    request.state.is_counted = True


async def take_one(request: Request, company_id: UUID) -> None:
    """Count a request that was not counted as a call. Raises RateLimitedError."""
    rates = services_of(request).get(RequestRates).api
    _, wait = await rates.take(company_id, _SMALLEST)
    if wait > 0:
        raise RateLimitedError("api.rate_limited", seconds=math.ceil(wait), number=_SMALLEST)


def tell(request: Request, response: Response) -> None:
    """Set ``RateLimit-Policy`` and ``RateLimit`` on the answer of a request that was counted."""
    rate = getattr(request.state, "rate", None)
    if rate is None:
        return
    number, left, reset = rate
    response.headers["ratelimit-policy"] = f'"company";q={number};w=60'
    response.headers["ratelimit"] = f'"company";r={left};t={reset}'
