"""The one place that decides how large a measurement is.

The environment variable ``BENCH_SIZE=tiny`` makes every measurement so small that ``make test`` can
run all of them. The figures of a tiny run mean nothing: the run only proves that the code works.
"""

from __future__ import annotations

import os
from typing import TypeVar

T = TypeVar("T")

SIZE = "BENCH_SIZE"
TINY = os.environ.get(SIZE) == "tiny"


def sized(full: T, *, tiny: T) -> T:
    """Return the value for this run: ``full`` normally, ``tiny`` in a tiny run."""
    return tiny if TINY else full


# BENCH_ROWS changes the number of messages in the large tables, for example to ten million.
ROWS = int(os.environ.get("BENCH_ROWS", sized(1_000_000, tiny=15_000)))
