"""Ids that are generated before their row is inserted."""

from __future__ import annotations

import os
import time
from uuid import UUID


def uuid7() -> UUID:
    """Return a UUID of version 7 (RFC 9562, 5.7), like the database's ``uuidv7()``.

    It has 48 bits of milliseconds since 1970, followed by random bits.
    """
    value = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10))
    for bits, place, width in ((0x7, 76, 4), (0b10, 62, 2)):  # version, variant
        value = value & ~(((1 << width) - 1) << place) | bits << place
    return UUID(int=value)
