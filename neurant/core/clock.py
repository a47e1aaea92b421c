"""The clock of the Python code. The database uses its own clock (``now()``) for what it stores."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def utc_now() -> datetime:
    """Return the current time as an aware datetime in UTC."""
    return datetime.now(UTC)


def monotonic() -> float:
    """Return the seconds of a monotonic clock, for measuring durations."""
    return time.monotonic()
