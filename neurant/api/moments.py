"""Moments that people send, as RFC 3339 writes them: a number is no moment."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator


def _written(value: Any) -> Any:
    if isinstance(value, str) and not value[:5].endswith("-"):
        raise ValueError("a date and a time, such as 2026-11-23T10:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_written)]
"""Date, time and zone. A timestamp that is a bare number is refused: of what, nobody knows."""
