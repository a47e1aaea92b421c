"""The one clock of the Python side. The database keeps its own (``now()``) for what it stores."""

from __future__ import annotations

from datetime import UTC, datetime


def utc_now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)
