"""Ids that are made in Python are as those that the database makes."""

from __future__ import annotations

import time
from uuid import RFC_4122

from neurant.core.ids import uuid7


def test_an_id_is_of_version_7_new_each_time_and_tells_its_millisecond() -> None:
    before = time.time_ns() // 1_000_000
    made = [uuid7() for _ in range(1000)]
    after = time.time_ns() // 1_000_000
    assert len(set(made)) == 1000
    for one in made:
        assert (one.version, one.variant) == (7, RFC_4122)
        assert before <= one.int >> 80 <= after
    assert sorted(made, key=lambda one: one.int >> 80) == made
