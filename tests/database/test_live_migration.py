"""Migrations while people work: nobody who reads or writes waits a second, with a million messages."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from neurant.installation.migrate import migrate
from tests.database.made_up_release import MIGRATIONS_AFTER, released, with_rows

Database = Callable[[], str]
MESSAGES = 1_000_000
PATIENCE = 1.0  # seconds that a reader or a writer may wait for a migration's lock

# Sequential keys, and no triggers: what costs time here is not what is measured.
FILL = """
set session_replication_role = replica;
insert into messages (company_id, conversation_id, chatbot_id, channel_account_id, seq, sender_type,
  content)
select c.company_id, c.id, c.chatbot_id, c.channel_account_id, 1000000 + n, 'end_user', 'hola'
from (select * from conversations where status = 'active' order by company_id limit 1) c,
  generate_series(1, %s) n
"""
WRITE = "update messages set content = content where company_id = %s and id = %s"
OPEN = "update conversations set end_user_name = end_user_name where company_id = %s"
READ = "select content from messages where company_id = %s order by created_at desc limit 50"
WAITING = (
    "select max(extract(epoch from clock_timestamp() - waitstart)) from pg_locks"
    " where not granted and pid = any (%s)"
)


@contextmanager
def people_at_work(url: str, keys: tuple[object, object]) -> Iterator[list[float]]:
    """A reader and a writer that do not stop, and how long each was seen waiting for a lock."""
    waits: list[float] = []
    done = threading.Event()
    at_work = threading.Barrier(3)
    pids: list[int] = []
    failures: list[psycopg.Error] = []

    def work(*statements: tuple[str, tuple[object, ...]]) -> None:
        with psycopg.connect(url, autocommit=True) as db:
            pids.append(db.info.backend_pid)
            at_work.wait()
            try:
                while not done.is_set():
                    for query, params in statements:
                        db.execute(query, params)
                    done.wait(0.005)
            except psycopg.Error as error:
                failures.append(error)

    def watch() -> None:
        with psycopg.connect(url, autocommit=True) as db:
            while not done.wait(0.02):
                waits.append(float(db.execute(WAITING, (pids,)).fetchone()[0] or 0))

    writer = threading.Thread(target=work, args=((WRITE, keys), (OPEN, keys[:1])))
    reader = threading.Thread(target=work, args=((READ, keys[:1]),))
    watcher = threading.Thread(target=watch)
    writer.start()
    reader.start()
    at_work.wait()
    watcher.start()
    try:
        yield waits
    finally:
        done.set()
        for thread in (writer, reader, watcher):
            thread.join()
    assert not failures, "a migration breaks what the version before it does"


def million(url: str, folder: Path) -> tuple[object, object]:
    """A database of the made-up release with a million messages; the key of one of them."""
    with_rows(url, folder)
    with psycopg.connect(url, autocommit=True) as db, db.cursor() as cursor:
        for part in FILL.strip().split(";"):
            cursor.execute(part, (MESSAGES,) if "%s" in part else None)
        cursor.execute("analyze messages")
    with psycopg.connect(url) as db:
        return db.execute(
            "select company_id, id from messages where seq = 1000050 order by 1 limit 1"
        ).fetchone()


def test_no_migration_keeps_a_reader_or_a_writer_waiting(
    fresh_database: Database, tmp_path: Path
) -> None:
    """The migrations after the made-up release: each way that db/CONVENTIONS.md allows."""
    url = fresh_database()
    folder = released(tmp_path / "migrations")
    keys = million(url, folder)
    longest: dict[str, float] = {}
    with people_at_work(url, keys) as waits:
        for name, text in MIGRATIONS_AFTER.items():
            (folder / name).write_text(text, "utf-8")
            waits.clear()
            assert migrate(url, folder) == [name]
            longest[name] = max(waits, default=0)
        # A pair that must be seen, or the watcher sees nothing: a lock held on purpose.
        with psycopg.connect(url) as db:
            db.execute("lock table messages in access exclusive mode")
            deadline = time.monotonic() + 10
            while max(waits, default=0) < 0.1:
                assert time.monotonic() < deadline, "nobody is seen waiting"
    print(*(f"{wait:.3f} s  {name}" for name, wait in longest.items()), sep="\n")
    assert not {name: wait for name, wait in longest.items() if wait > PATIENCE}
