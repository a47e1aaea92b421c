"""How many requests a company may make: its plan's number a minute, for all its callers together.

A token bucket per company: a minute's worth may come at once, then one token comes back every
``60 / number`` seconds. Told in the headers of the IETF draft "RateLimit header fields for HTTP".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from uuid import UUID

from fastapi import Request, Response

from neurant.clock import monotonic
from neurant.database.tenancy import Caller
from neurant.errors import RateLimitedError

_WINDOW = 60.0  # seconds
_MOST_COMPANIES = 10_000


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class Rates:
    """The buckets of one web process."""

    def __init__(self) -> None:
        self._buckets: dict[UUID, _Bucket] = {}

    def take(self, company: UUID, number: int, now: float) -> tuple[int, float]:
        """Take one: how many are left, and seconds until there is one (0: it was given)."""
        bucket = self._buckets.pop(company, None) or _Bucket(number, now)
        tokens = min(float(number), bucket.tokens + (now - bucket.at) * number / _WINDOW)
        given = tokens >= 1
        self._buckets[company] = _Bucket(tokens - 1 if given else tokens, now)
        if len(self._buckets) > _MOST_COMPANIES:  # the one that asked longest ago is full again
            self._buckets.pop(next(iter(self._buckets)))
        left = tokens - 1 if given else tokens
        return int(left), 0.0 if given else (1 - tokens) * _WINDOW / number


def take(request: Request, caller: Caller) -> None:
    """Count a request of a caller. Raises RateLimitedError."""
    rates: Rates = request.app.state.rates
    number = caller.requests_per_minute
    left, wait = rates.take(caller.company_id, number, monotonic())
    request.state.rate = (number, left, math.ceil(_WINDOW / number))
    if wait > 0:
        raise RateLimitedError("api.rate_limited", seconds=math.ceil(wait), number=number)


def tell(request: Request, response: Response) -> None:
    """``RateLimit-Policy`` and ``RateLimit`` of a request that was counted."""
    rate = getattr(request.state, "rate", None)
    if rate is None:
        return
    number, left, reset = rate
    response.headers["ratelimit-policy"] = f'"company";q={number};w=60'
    response.headers["ratelimit"] = f'"company";r={left};t={reset}'
