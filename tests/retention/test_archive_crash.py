"""Whatever dies in the middle of archiving: every row is in exactly one place, and the manifest tells which."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from neurant.installation.embedded import RunningServer, start_supervised
from neurant.installation.install import read_secrets
from neurant.installation.migrate import migrate, set_login_passwords
from tests.companies import make_company
from tests.retention.old_conversations import (
    LIVE,
    ConversationShape,
    archive_all,
    make_conversation,
    stored_rows,
)

pytestmark = pytest.mark.platform

WORKER = """
import sys, psycopg
with psycopg.connect(sys.argv[1], autocommit=True) as db:
    print("ready", flush=True)
    while db.execute("select * from private.archive_old_data(p_limit => 2)").fetchall():
        pass
"""
# Where the batch is held when its process dies: another session has these locks.
CUTS = {
    "before the first row": "lock table conversations in access exclusive mode",
    "while the rows move": "lock table messages_archived in share mode",
    "at the last table": "lock table outbox_archived in share mode",
    "before the manifest": "lock table archive_batches in share row exclusive mode",
}
WAITING = (
    "select count(*) from pg_locks l join pg_stat_activity a on a.pid = l.pid"
    " where not l.granted and a.usename = 'neurant_jobs'"
)


class Place:
    """A server of its own, whose processes may be killed, and two companies' old conversations."""

    def __init__(self, folder: Path, talks: int) -> None:
        self.folder = folder
        self.server: RunningServer = start_supervised(folder, {})
        admin = self.server.urls.admin
        migrate(admin)
        secret = read_secrets(folder)
        set_login_passwords(admin, app=secret.app_password, jobs=secret.jobs_password)
        companies = [make_company(admin, "acme"), make_company(admin, "rival")]
        shape = ConversationShape(speakers=("end_user", "bot", "human"))
        with psycopg.connect(admin) as db:
            self.talks: list[UUID] = []
            for number in range(talks):
                one = ConversationShape(**{**vars(shape), "end_user": f"user-{number}"})
                self.talks.append(make_conversation(db, companies[number % 2], one))
            self.before = stored_rows(db, self.talks)

    def worker(self) -> subprocess.Popen[str]:
        started = subprocess.Popen(
            [sys.executable, "-c", WORKER, self.server.urls.jobs],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert started.stdout
        assert started.stdout.readline() == "ready\n"
        return started

    def kill_postgres(self) -> None:
        self.server.process.kill()
        self.server.process.wait()
        self.server = start_supervised(self.folder, {})

    def check_conserved(self) -> int:
        """How many conversations have moved; each row is in one place, as it was."""
        with psycopg.connect(self.server.urls.admin) as db:
            # One moment: the backend of a killed client may still be committing.
            db.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            live, kept = stored_rows(db, self.talks), stored_rows(db, self.talks, "_archived")
            for table in LIVE:
                assert sorted(live[table] + kept[table]) == sorted(self.before[table]), table
            moved = {
                row[0] for row in db.execute("select id from conversations_archived").fetchall()
            }
            told: list[UUID] = []
            for ids, counts in db.execute(
                "select conversation_ids, counts from archive_batches"
            ).fetchall():
                told += ids
                found = stored_rows(db, ids, "_archived")
                assert counts == {table: len(rows) for table, rows in found.items()}
            assert sorted(told) == sorted(moved)
            for one in self.talks:  # never one part here and another there
                parts = stored_rows(db, [one], "" if one in moved else "_archived")
                assert not any(parts.values())
            return len(moved)


@contextlib.contextmanager
def place(folder: Path, talks: int) -> Iterator[Place]:
    made = Place(folder, talks)
    try:
        yield made
    finally:
        made.server.stop()


def wait_until_held(admin: str) -> None:
    deadline = time.monotonic() + 20
    with psycopg.connect(admin, autocommit=True) as db:
        while not db.execute(WAITING).fetchone()[0]:
            assert time.monotonic() < deadline, "the batch never came to the lock"
            time.sleep(0.02)


def cut_at(here: Place, lock: str, victim: str) -> None:
    admin = here.server.urls.admin
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(admin) as db:
        db.execute(lock)
        with here.worker() as worker:
            wait_until_held(admin)
            if victim == "postgres":
                here.kill_postgres()
            worker.kill()
        db.rollback()


def test_the_worker_or_postgres_is_killed_at_each_step_of_a_batch(folder: Path) -> None:
    with place(folder, talks=24) as here:
        moved = 0
        for name, lock in CUTS.items():
            for victim in ("worker", "postgres"):
                cut_at(here, lock, victim)
                after = here.check_conserved()
                assert after >= moved, (name, victim)
                moved = after
        archive_all(here.server.urls.jobs, limit=5)
        assert here.check_conserved() == len(here.talks)


def test_postgres_and_workers_are_killed_at_random_moments(folder: Path) -> None:
    dice = random.Random(30)
    with place(folder, talks=60) as here:
        counts = []
        for _ in range(4):
            with here.worker() as worker:
                time.sleep(dice.uniform(0.01, 0.15))
                if dice.random() < 0.7:
                    here.kill_postgres()
                worker.kill()
            counts.append(here.check_conserved())
        print(f"conversations archived after each kill: {counts}")
        archive_all(here.server.urls.jobs, limit=7)
        assert here.check_conserved() == len(here.talks)
