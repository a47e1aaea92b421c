"""The SQL of group-committed ingest against pgbench's INSERT of the message row with its keys.

Run: ``python bench/ingest_sql.py`` (about 1 minute). Ingest takes events and leaves conversation,
message, reply request and change log; 32 events are on their way at any time, as two batches of 16:
what a web process with its two flushers sends when each arrival waits for its commit. The INSERT:
32 clients, each on a connection of its own, each row a commit, the same keys, no trigger.
"""

from __future__ import annotations

from message_writes import interleaved, pgbench, seeded, spread
from support import busy, report

GOAL = 0.75
UNDER_WAY = 32
FLUSHERS = 2
BATCH = UNDER_WAY // FLUSHERS
SECONDS = 4
ROUNDS = 7


def main() -> None:
    before = busy()
    with seeded() as (_, server):
        url = server.urls.admin

        def ingest() -> float:
            batches = pgbench(url, "ingest_batch", clients=FLUSHERS, seconds=SECONDS, batch=BATCH)
            return batches * BATCH

        def insert() -> float:
            return pgbench(url, "insert_message", clients=UNDER_WAY, seconds=SECONDS)

        ingest(), insert()  # warm
        ratio, ours, plain = interleaved(ingest, insert, ROUNDS)
    report(
        "ingest_sql",
        "messages a second by private.ingest, of pgbench's INSERT of the message row",
        ratio,
        GOAL,
        f"median of {ROUNDS} pairs of {SECONDS} s, {FLUSHERS} flushers with batches of {BATCH}"
        f" against {UNDER_WAY} clients, fsync on; ingest {spread(ours)}, INSERT {spread(plain)};"
        f" {before}",
        at_least=True,
    )


if __name__ == "__main__":
    main()
