"""A load of the large tables that was interrupted is noticed and done again."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from bench import million
from bench.database import drop, value, with_name
from neurant.installation.embedded import RunningServer

ROOT = Path(__file__).resolve().parents[2]
ROWS = 5_000
LOAD = "import sys; from bench.million import load_million; load_million(sys.argv[1], int(sys.argv[2]))"


@pytest.fixture
def admin(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The session's server, with few sentences, so that a load takes a second."""
    monkeypatch.setattr(million, "_LINES", 400)
    drop(server.urls.admin, million.NAME)
    yield server.urls.admin
    drop(server.urls.admin, million.NAME)


def count(admin: str, query: str) -> int:
    with psycopg.connect(with_name(admin, million.NAME)) as db:
        return int(value(db, query))


def test_a_load_that_was_killed_is_done_again(admin: str) -> None:
    loader = subprocess.Popen([sys.executable, "-c", LOAD, admin, str(ROWS)], cwd=ROOT)
    last = time.monotonic() + 120
    while True:
        assert loader.poll() is None, "the load ended before it was interrupted"
        assert time.monotonic() < last
        with suppress(psycopg.Error):
            if count(admin, "select count(*) from companies"):
                break
    loader.kill()
    loader.wait()

    million.load_million(admin, ROWS)
    assert count(admin, "select count(*) from messages") == ROWS
    assert count(admin, "select count(*) from companies") == million.COMPANIES
    assert count(admin, "select count(*) from bench_load_completed") == 1


def test_complete_rows_are_kept_and_other_rows_are_loaded_again(
    admin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    million.load_million(admin, ROWS)
    with psycopg.connect(with_name(admin, million.NAME)) as db:
        db.execute("create table of_the_first_load ()")
    here = "select count(to_regclass('of_the_first_load'))"

    million.load_million(admin, ROWS)
    assert count(admin, here) == 1  # nothing was loaded

    million.load_million(admin, ROWS + 50)
    assert count(admin, here) == 0
    assert count(admin, "select count(*) from messages") == ROWS + 50

    with psycopg.connect(with_name(admin, million.NAME)) as db:
        db.execute("create table of_the_first_load ()")
    monkeypatch.setattr(million, "_print_of_load", lambda: "another schema")
    million.load_million(admin, ROWS + 50)
    assert count(admin, here) == 0
