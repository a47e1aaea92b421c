"""Times and days in JSON: RFC 3339, times with an offset, of this century.

The schema has a pattern instead of ``format: date-time``, so that the OpenAPI document states
exactly which values are accepted: no leap second, no 30th of February, no impossible year.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

_LEAP = "20(?:[02468][048]|[13579][26])-02-29"
_DAY = (
    r"20[0-9]{2}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
_OFFSET = r"(?:Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9])"
PATTERN = f"^(?:{_LEAP}|{_DAY})T{_TIME}{_OFFSET}$"
DAY_PATTERN = f"^(?:{_LEAP}|{_DAY})$"
_MOMENT = re.compile(PATTERN.removesuffix("$"))
_DATE = re.compile(DAY_PATTERN.removesuffix("$"))


def _parsed(value: object) -> object:
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        raise ValueError("a moment of this century, as in 2026-03-01T09:30:00Z")
    return datetime.fromisoformat(value)


def _parsed_day(value: object) -> object:
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise ValueError("a day of this century, as in 2026-03-01")
    return date.fromisoformat(value)


Timestamp = Annotated[
    datetime,
    BeforeValidator(_parsed),
    WithJsonSchema({"type": "string", "pattern": PATTERN, "examples": ["2026-03-01T09:30:00Z"]}),
]
"""A time of the years 2000 to 2099, with its offset, in microseconds at most."""

Date = Annotated[
    date,
    BeforeValidator(_parsed_day),
    WithJsonSchema({"type": "string", "pattern": DAY_PATTERN, "examples": ["2026-03-01"]}),
]
"""A day of the years 2000 to 2099."""
