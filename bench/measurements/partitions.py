"""``messages`` partitioned by month, or not: the figures of docs/decisions/0003-partitions.md.

The decision's own figures come from ``BENCH_ROWS=10000000`` (about 20 minutes, 15 GB in the
temporary folder). There are two tables with the relevant columns and indexes of ours and the same
rows: one whole, one with twelve monthly partitions.
"""

from __future__ import annotations

import time
from typing import Any

import psycopg

from bench.database import IN_MEMORY, Database, blank, value
from bench.figures import Figure, Figures
from bench.pgbench import ROUND_SECONDS, pgbench
from bench.sizes import ROWS, sized
from bench.support import busy, median

CONVERSATIONS = max(1000, ROWS // 50)
ROUNDS = sized(5, tiny=1)
PLANS = sized(30, tiny=2)
READ = "newest 50 of a conversation, ms"
_COLUMNS = """
  company_id uuid not null, id uuid not null default uuidv7(), conversation_id uuid not null,
  seq bigint not null, content text not null, sender_type text not null,
  external_message_id text, created_at timestamptz not null default clock_timestamp()
"""
_TABLES = f"""
create table whole ({_COLUMNS}, primary key (company_id, id), unique (company_id, conversation_id, seq));
create unique index on whole (company_id, external_message_id) where external_message_id is not null;
create index on whole (company_id, created_at desc, id desc);
create table parted ({_COLUMNS}, primary key (company_id, id, created_at),
  unique (company_id, conversation_id, seq, created_at)) partition by range (created_at);
create unique index on parted (company_id, external_message_id, created_at)
  where external_message_id is not null;
create index on parted (company_id, created_at desc, id desc);
do $$ begin
  for n in 0..12 loop
    execute format('create table parted_%s partition of parted for values from (%L) to (%L)', n,
      timestamptz '2026-01-01' + n * interval '1 month',
      timestamptz '2026-01-01' + (n + 1) * interval '1 month');
  end loop;
end $$;
"""
_FILL = """
insert into {table} (company_id, id, conversation_id, seq, content, sender_type,
  external_message_id, created_at)
select md5('co' || (1 + g % 100))::uuid,
  uuidv7(timestamptz '2026-01-01' + interval '364 days' * (n::float8 / {rows}) - now()),
  md5('cv' || g)::uuid, n / {conversations}, 'un mensaje como cualquier otro, de un largo corriente ' || n,
  'end_user', 'x' || n, timestamptz '2026-01-01' + interval '364 days' * (n::float8 / {rows})
from (select n, (n::bigint * 104729) % {conversations} as g from generate_series(0, {rows} - 1) n) m
"""
_INSERT = """
insert into {table} (company_id, conversation_id, seq, content, sender_type, external_message_id, created_at)
values (md5('co1')::uuid, md5('cv' || random())::uuid, 1, 'hola', 'end_user', gen_random_uuid()::text,
  timestamptz '2026-12-30');
"""
_OF_CONVERSATION = """
\\set g random(1, 1000)
select id, content from {table}
where company_id = md5('co' || (1 + :g % 100))::uuid and conversation_id = md5('cv' || :g)::uuid
order by seq desc limit 50;
"""
_OF_COMPANY = """
\\set c random(1, 100)
select id, content from {table} where company_id = md5('co' || :c)::uuid
order by created_at desc, id desc limit 50;
"""
_BY_ID = """
\\set c random(1, 100)
select content from {table} where company_id = md5('co' || :c)::uuid and id = (select gen_random_uuid());
"""
_SCRIPTS = {
    "insert, ms": _INSERT,
    READ: _OF_CONVERSATION,
    "newest 50 of the company, ms": _OF_COMPANY,
    "one message by its id, ms": _BY_ID,
}


def seconds(db: psycopg.Connection[Any], script: str) -> float:
    began = time.monotonic()
    db.execute(script.encode())
    return time.monotonic() - began


def planning(db: psycopg.Connection[Any], table: str) -> float:
    """Return the median milliseconds to plan the read of a conversation, unprepared."""
    read = _OF_CONVERSATION.split("\n", 2)[2].replace(":g", "7").format(table=table)
    explained = f"explain (summary, format json) {read.strip().rstrip(';')}"
    return median(value(db, explained)[0]["Planning Time"] for _ in range(PLANS))


def archive(db: psycopg.Connection[Any], table: str) -> float:
    """Return the seconds to remove January: its rows are deleted, or its partition is detached."""
    if table == "parted":
        return seconds(db, "alter table parted detach partition parted_0 concurrently")
    return seconds(db, "delete from whole where created_at < '2026-02-01'")


def compare(database: Database) -> dict[str, dict[str, float]]:
    """Return each table's results by name."""
    results: dict[str, dict[str, float]] = {"whole": {}, "parted": {}}
    with psycopg.connect(database.admin, autocommit=True) as db:
        db.execute(_TABLES.encode())
        for table, row in results.items():
            fill = _FILL.format(table=table, rows=ROWS, conversations=CONVERSATIONS)
            row["load, rows/s"] = ROWS / seconds(db, fill)
        db.execute("vacuum analyze")
        for name, script in _SCRIPTS.items():
            rounds: dict[str, list[float]] = {table: [] for table in results}
            for _ in range(ROUNDS):
                for table, measured in rounds.items():
                    text = script.format(table=table)
                    ran = pgbench(database.admin, text, seconds=ROUND_SECONDS)
                    measured.append(ran.milliseconds)
            for table, row in results.items():
                row[name] = median(rounds[table])
        for table, row in results.items():
            row["planning, ms"] = planning(db, table)
            row["archive of a month, s"] = archive(db, table)
    return results


def measure() -> Figures:
    before = busy()
    with blank(IN_MEMORY) as database:
        results = compare(database)
    whole, parted = results["whole"], results["parted"]
    print(f"| {ROWS:,} rows | whole | by month |\n|---|---|---|")
    for name in whole:
        print(f"| {name} | {whole[name]:,.3f} | {parted[name]:,.3f} |")
    listed = "; ".join(
        f"{name} {whole[name]:,.2f} whole, {parted[name]:,.2f} by month" for name in whole
    )
    yield Figure(
        id="partitions",
        title=f"newest 50 of a conversation of {ROWS:,} messages, partitioned by month",
        measured=parted[READ],
        unit="ms",
        baseline="the same in one whole table",
        baseline_measured=whole[READ],
        ratio=parted[READ] / whole[READ],
        details=f"{listed}; {before}",
    )
