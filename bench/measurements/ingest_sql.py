"""The SQL of group-committed ingest, against pgbench's INSERT of the message row with its keys.

Ingest takes events and writes conversation, message, reply request and change log. 32 events are in
progress at any time, as two batches of 16: a web process with its two flushers sends such batches
when each arrival waits for its commit. The INSERT has 32 clients, each with its own connection and
a commit per row, the same keys, and no trigger.
"""

from __future__ import annotations

from bench.figures import Figure, Figures
from bench.pgbench import interleaved, spread, write_path, write_rate
from bench.sizes import sized
from bench.support import busy, median

GOAL = 0.75
UNDER_WAY = 32
FLUSHERS = 2
BATCH = UNDER_WAY // FLUSHERS
SECONDS = sized(4.0, tiny=0.0)
ROUNDS = sized(7, tiny=1)


def measure() -> Figures:
    before = busy()
    with write_path() as database:

        def ingest() -> float:
            batches = write_rate(
                database.admin,
                "ingest_batch",
                clients=FLUSHERS,
                seconds=SECONDS,
                variables={"batch": BATCH},
            )
            return batches * BATCH

        def insert() -> float:
            return write_rate(database.admin, "insert_message", clients=UNDER_WAY, seconds=SECONDS)

        ingest(), insert()  # the first runs warm up
        compared = interleaved(ingest, insert, ROUNDS)
    yield Figure(
        id="ingest_sql",
        title="messages stored by private.ingest",
        measured=median(compared.ours),
        unit="messages/s",
        baseline="pgbench's INSERT of the message row, same keys, no trigger",
        baseline_measured=median(compared.baseline),
        ratio=compared.ratio,
        goal=GOAL,
        higher_is_better=True,
        details=f"median of {ROUNDS} pairs of {SECONDS:g} s, {FLUSHERS} flushers with batches of"
        f" {BATCH} against {UNDER_WAY} clients, fsync on; ingest {spread(compared.ours)}, INSERT"
        f" {spread(compared.baseline)}; {before}",
    )
