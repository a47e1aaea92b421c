"""64 writers of bot messages of ONE company, exact quota and counters, against a plain INSERT.

Run: ``python bench/hot_company.py`` (about 2 minutes). The plain one goes to a table with the same
primary key, unique and foreign keys and indexes, and no trigger. The same pair on the founding
design as drafted is told beside it.
"""

from __future__ import annotations

import psycopg
from message_writes import SQL, interleaved, pgbench, run_file, seeded, spread
from psycopg import sql
from support import ROOT, busy, report

GOAL = 0.5
WRITERS = 64
SECONDS = 5
ROUNDS = 7
DRAFT_ROUNDS = 3
EXACT = """
select c.monthly_message_count + (select sum(s.used) from usage_slots s where s.company_id = c.id),
  (select count(*) from messages m where m.company_id = c.id and m.sender_type = 'bot'),
  (select sum(k.bot_message_count) from conversations k where k.company_id = c.id)
from companies c where c.id = bench.id(1, 0)
"""


def check_exact(url: str) -> int:
    """The messages written, if quota and counters say the same number; AssertionError if not."""
    with psycopg.connect(url) as db:
        row = db.execute(EXACT).fetchone()
    if row is None or len(set(row)) != 1:
        raise AssertionError(f"quota, messages and counters differ: {row}")
    return int(row[0])


def draft(url: str) -> tuple[float, list[float], list[float]]:
    """The same on the founding design: with its triggers, and without."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(sql.SQL("create database draft template template0"))
    drafted = url.replace("/neurant?", "/draft?")
    run_file(drafted, ROOT / "bench" / "founding_design.sql")
    run_file(drafted, SQL / "draft_hot_company_seed.sql")

    def rate(triggers: str) -> float:
        with psycopg.connect(drafted) as db:
            db.execute(sql.SQL("alter table messages {} trigger user").format(sql.SQL(triggers)))
        return pgbench(drafted, "draft_hot_company", clients=WRITERS, seconds=SECONDS)

    return interleaved(lambda: rate("enable"), lambda: rate("disable"), DRAFT_ROUNDS)


def main() -> None:
    before = busy()
    with seeded() as (_, server):
        url = server.urls.admin
        for script in ("hot_company", "hot_company_plain"):  # every backend's slot, every page
            pgbench(url, script, clients=WRITERS, seconds=3)
        ratio, ours, plain = interleaved(
            lambda: pgbench(url, "hot_company", clients=WRITERS, seconds=SECONDS),
            lambda: pgbench(url, "hot_company_plain", clients=WRITERS, seconds=SECONDS),
            ROUNDS,
        )
        written = check_exact(url)
        drafted, with_triggers, without = draft(url)
    report(
        "hot_company",
        "64 writers of one company's bot messages, exact quota and counters, of a plain INSERT's rate",
        ratio,
        GOAL,
        f"median of {ROUNDS} pairs of {SECONDS} s, pgbench -M prepared, fsync on; ours {spread(ours)},"
        f" plain {spread(plain)}; afterwards quota, counters and rows agree on {written:,}; {before}",
        at_least=True,
    )
    report(
        "hot_company_draft",
        "the same on the founding design as drafted: its triggers, of the rate without them",
        drafted,
        None,
        f"median of {DRAFT_ROUNDS} pairs; {spread(with_triggers)} and {spread(without)}",
    )


if __name__ == "__main__":
    main()
