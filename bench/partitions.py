"""Partition ``messages`` by month now, or not: the figures behind docs/decisions/0003-partitions.md.

Run: ``python bench/partitions.py`` (1 million rows, about 2 minutes); the decision's own figures are of
``BENCH_ROWS=10000000`` (about 20 minutes, 15 GB in the temporary folder). Two tables with the
columns and indexes that matter of ours, filled alike: one whole, one of twelve months' partitions.
"""

from __future__ import annotations

import os
import statistics
import sys
import time

import psycopg
from million import SETTINGS, Loaded, pgbench
from support import busy, empty_folder, report

from neurant.installation.embedded import start_supervised

ROWS = int(os.environ.get("BENCH_ROWS", "1000000"))
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


def seconds(db: psycopg.Connection, script: str) -> float:
    began = time.monotonic()
    db.execute(script.encode())
    return time.monotonic() - began


def planning(db: psycopg.Connection, table: str) -> float:
    """Milliseconds to plan the read of a conversation, unprepared; the median of 30."""
    read = _OF_CONVERSATION.split("\n", 2)[2].replace(":g", "7").format(table=table)
    asked = f"explain (summary, format json) {read.strip().rstrip(';')}".encode()
    rows = [db.execute(asked).fetchone() for _ in range(30)]
    return statistics.median(row[0][0]["Planning Time"] for row in rows if row)


def archive(db: psycopg.Connection, table: str) -> float:
    """Seconds until January is out of the table: rows deleted, or its partition detached."""
    if table == "parted":
        return seconds(db, "alter table parted detach partition parted_0 concurrently")
    return seconds(db, "delete from whole where created_at < '2026-02-01'")


def measure(loaded: Loaded) -> dict[str, dict[str, float]]:
    """Each table's figures by name."""
    told: dict[str, dict[str, float]] = {"whole": {}, "parted": {}}
    conversations = max(1000, ROWS // 50)
    with psycopg.connect(loaded.admin, autocommit=True) as db:
        db.execute(_TABLES.encode())
        for table, row in told.items():
            fill = _FILL.format(table=table, rows=ROWS, conversations=conversations)
            row["load, rows/s"] = ROWS / seconds(db, fill)
        db.execute("vacuum analyze")
        scripts = {
            "insert, ms": _INSERT,
            "newest 50 of a conversation, ms": _OF_CONVERSATION,
            "newest 50 of the company, ms": _OF_COMPANY,
            "one message by its id, ms": _BY_ID,
        }
        for name, script in scripts.items():
            rounds: dict[str, list[float]] = {"whole": [], "parted": []}
            for _ in range(5):
                for table in rounds:
                    one = pgbench(loaded, script.format(table=table), seconds=1)
                    rounds[table].append(one)
            for table, row in told.items():
                row[name] = statistics.median(rounds[table])
        for table, row in told.items():
            row["planning, ms"] = planning(db, table)
            row["archive of a month, s"] = archive(db, table)
    return told


def main() -> int:
    before = busy()
    with empty_folder() as folder:
        server = start_supervised(folder, SETTINGS)
        try:
            admin = server.urls.admin
            told = measure(Loaded(server, admin, admin, ROWS))
        finally:
            server.stop()
    print(f"| {ROWS:,} rows | whole | by month |\n|---|---|---|")
    for name in told["whole"]:
        print(f"| {name} | {told['whole'][name]:,.3f} | {told['parted'][name]:,.3f} |")
    read = "newest 50 of a conversation, ms"
    report(
        "partitions",
        f"newest 50 of a conversation of {ROWS:,} messages, partitioned by month : whole",
        told["parted"][read] / told["whole"][read],
        None,
        "; ".join(
            f"{name} {told['whole'][name]:,.2f} whole, {told['parted'][name]:,.2f} by month"
            for name in told["whole"]
        )
        + f"; {before}",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
