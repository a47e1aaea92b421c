"""64 writers of bot messages of ONE company, exact quota and counters, against a plain INSERT.

The plain INSERT goes to a table with the same primary key, unique and foreign keys and indexes, and
no trigger. The same pair on the founding design as drafted is a second figure.
"""

from __future__ import annotations

import psycopg

from bench.database import Database, create, value
from bench.figures import Figure, Figures
from bench.pgbench import SQL, Compared, interleaved, run_file, spread, write_path, write_rate
from bench.sizes import sized
from bench.support import ROOT, busy, median

GOAL = 0.5
WRITERS = 64
SECONDS = sized(5.0, tiny=0.0)
WARM_SECONDS = sized(3.0, tiny=0.0)
ROUNDS = sized(7, tiny=1)
DRAFT_ROUNDS = sized(3, tiny=1)
EXACT = """
select array[
  c.monthly_message_count + (select sum(s.used) from usage_slots s where s.company_id = c.id),
  (select count(*) from messages m where m.company_id = c.id and m.sender_type = 'bot'),
  (select sum(k.bot_message_count) from conversations k where k.company_id = c.id)]::bigint[]
from companies c where c.id = bench.id(1, 0)
"""


def check_exact(url: str) -> int:
    """Return the number of messages. Raises AssertionError if quota or counters differ from it."""
    with psycopg.connect(url) as db:
        counts = value(db, EXACT)
    if len(set(counts)) != 1:
        raise AssertionError(f"quota, messages and counters differ: {counts}")
    return int(counts[0])


def on_the_draft(database: Database) -> Compared:
    """Measure the same on the founding design, with its triggers and without them."""
    name = f"{psycopg.conninfo.conninfo_to_dict(database.admin)['dbname']}_draft"
    create(database.admin, name)
    drafted = database.named(name).admin
    run_file(drafted, ROOT / "bench" / "founding_design.sql")
    run_file(drafted, SQL / "draft_hot_company_seed.sql")

    def rate(triggers: str) -> float:
        with psycopg.connect(drafted) as db:
            db.execute(f"alter table messages {triggers} trigger user".encode())
        return write_rate(drafted, "draft_hot_company", clients=WRITERS, seconds=SECONDS)

    return interleaved(lambda: rate("enable"), lambda: rate("disable"), DRAFT_ROUNDS)


def measure() -> Figures:
    before = busy()
    with write_path() as database:

        def rate(script: str, seconds: float) -> float:
            return write_rate(database.admin, script, clients=WRITERS, seconds=seconds)

        for script in ("hot_company", "hot_company_plain"):  # warms up the slots and the pages
            rate(script, WARM_SECONDS)
        compared = interleaved(
            lambda: rate("hot_company", SECONDS),
            lambda: rate("hot_company_plain", SECONDS),
            ROUNDS,
        )
        written = check_exact(database.admin)
        drafted = on_the_draft(database)
    yield Figure(
        id="hot_company",
        title="64 writers of one company's bot messages, quota and counters exact",
        measured=median(compared.ours),
        unit="messages/s",
        baseline="a plain INSERT, same keys, no trigger",
        baseline_measured=median(compared.baseline),
        ratio=compared.ratio,
        goal=GOAL,
        higher_is_better=True,
        details=f"median of {ROUNDS} pairs of {SECONDS:g} s, pgbench -M prepared, fsync on; ours"
        f" {spread(compared.ours)}, plain {spread(compared.baseline)}; afterwards quota, counters"
        f" and rows agree on {written:,}; {before}",
    )
    yield Figure(
        id="hot_company_draft",
        title="the same on the founding design as drafted",
        measured=median(drafted.ours),
        unit="messages/s",
        baseline="the same design without its triggers",
        baseline_measured=median(drafted.baseline),
        ratio=drafted.ratio,
        higher_is_better=True,
        details=f"median of {DRAFT_ROUNDS} pairs; {spread(drafted.ours)} and"
        f" {spread(drafted.baseline)}",
    )
