"""Days and moments on the wire are what the OpenAPI's pattern says, and nothing else."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from neurant.core.timestamps import DAY_PATTERN, PATTERN, Date, Timestamp

FIRST, LAST = date(2000, 1, 1), date(2099, 12, 31)


@given(st.dates())
@example(date(2000, 2, 29))
@example(date(2100, 2, 28))
def test_every_day_of_this_century_is_read_as_itself_and_no_other(day: date) -> None:
    told = day.isoformat()
    assert bool(re.search(DAY_PATTERN, told)) == (FIRST <= day <= LAST)
    if FIRST <= day <= LAST:
        assert TypeAdapter(Date).validate_python(told) == day


@given(st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC)))
def test_every_moment_of_this_century_is_read_as_itself(moment: datetime) -> None:
    assert re.search(PATTERN, moment.isoformat())
    assert TypeAdapter(Timestamp).validate_python(moment.isoformat()) == moment


@pytest.mark.parametrize(
    "told", ["0", "0.5", "1764547200", "2026-02-30", "2100-01-01", "20260301", "", "2026-03-01 "]
)
def test_what_is_no_day_is_refused(told: str) -> None:
    """A number would be read as seconds since 1970."""
    for kind in (Date, Timestamp):
        with pytest.raises(ValidationError):
            TypeAdapter(kind).validate_python(told)
