"""The isolation matrix: every principal, table, column, function and reference, by trying.

It is the product's own (``neurant verify``), so what an operator of a live database reads is what is
tested here. A cell that is wrong tells who could do what.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime

import psycopg
import pytest

from neurant.core.errors import SetupError
from neurant.installation.embedded import Urls
from neurant.texts import Language, catalogue
from neurant.verify import expectations
from neurant.verify.checks import Cell
from neurant.verify.command import verify
from neurant.verify.report import Report
from neurant.verify.run import Matrix, cells
from tests.isolation.proving_ground import prepared


@pytest.fixture(scope="module")
def matrix(make_migrated_database: Callable[[], str]) -> Iterator[Matrix]:
    yield from prepared(make_migrated_database())


@pytest.fixture(scope="module")
def found(matrix: Matrix) -> list[Cell]:
    return list(cells(matrix))


def test_every_cell_is_as_it_must_be(found: list[Cell]) -> None:
    assert len(found) > 10_000
    assert [cell for cell in found if not cell.ok][:20] == []  # of thousands, pytest tells slowly


def test_every_tenant_table_has_rows_of_both_companies(matrix: Matrix) -> None:
    assert matrix.fixture.missing == {}
    for table in matrix.fixture.catalog.tenant_tables():
        tags = set(matrix.fixture.rows[table.name])
        assert any(tag.startswith("rival") for tag in tags), table.name
        assert any(not tag.startswith("rival") for tag in tags), table.name


def test_each_principal_can_do_something_and_cannot_do_much(found: list[Cell]) -> None:
    """A matrix in which nobody may anything would be all green, and prove nothing."""
    words: dict[str, set[str]] = defaultdict(set)
    for cell in found:
        if cell.area == "rows" and cell.condition != "stranger":
            allowed = cell.expected not in ("refused", "nothing")
            words[cell.principal].add("can" if allowed else "cannot")
    people = {"owner", "administrador", "supervisor", "operador", "visitor", "worker", "router"}
    for name in people | {"key_administrador", "key_supervisor"}:
        assert words[name] == {"can", "cannot"}, name
    for name in ("anon", "app_login", "jobs_login", "schema_owner"):
        assert words[name] == {"cannot"}, name


def test_every_kind_of_stranger_was_turned_away_at_every_table(found: list[Cell]) -> None:
    met = defaultdict(set)
    for cell in found:
        if cell.condition == "stranger":
            met[cell.principal].add(cell.object)
    assert set(met) >= {
        "no_claims", "empty_claims", "empty_company", "unknown_company", "unknown_person",
        "person_of_other_company", "inactive_user", "cancelled_company", "revoked_key",
        "expired_key", "key_of_inactive_maker", "expired_visitor", "worker_from_web_login",
        "worker_without_its_login", "worker_of_cancelled_company",
    }  # fmt: skip
    tenant = {name for name, entry in expectations.tables().items() if not entry.platform}
    assert all(tables == tenant for tables in met.values())


def counted_rows(admin_url: str) -> list[tuple[str, int]]:
    """Each table of the product and how many rows it has."""
    with psycopg.connect(admin_url) as db:
        tables = db.execute(
            "select c.oid::regclass::text from pg_class c where c.relkind = 'r' and c.relnamespace"
            " in ('public'::regnamespace, 'auth'::regnamespace, 'jobs'::regnamespace) order by 1"
        ).fetchall()
        return [
            (name, db.execute(f"select count(*) from {name}".encode()).fetchone()[0])
            for (name,) in tables
        ]


@dataclass(frozen=True)
class Run:
    """One run of ``neurant verify --json`` on the live database, and the rows around it."""

    before: list[tuple[str, int]]
    done: subprocess.CompletedProcess[str]
    after: list[tuple[str, int]]

    def report(self) -> Report:
        """The report that the run printed."""
        told = json.loads(self.done.stdout)
        facts = {one.name: told[one.name] for one in fields(Report)}
        cells = [Cell(**cell) for cell in told["cells"]]
        return Report(**facts | {"made": datetime.fromisoformat(told["made"]), "cells": cells})


@pytest.fixture(scope="module")
def live_run(urls: Urls) -> Run:
    """A run takes 15 seconds: the tests of the live database share this one."""
    before = counted_rows(urls.admin)
    done = neurant_verify(urls.admin, "--json")
    return Run(before, done, counted_rows(urls.admin))


def test_verify_on_a_live_database_is_quick_and_leaves_nothing(live_run: Run) -> None:
    assert live_run.after == live_run.before
    report = live_run.report()
    assert report.wrong == []
    assert report.unverified == []
    assert report.seconds < 180  # 15 s on a quiet machine; here many things may run at once


def test_it_holds_no_lock_that_others_wait_for(matrix: Matrix) -> None:
    list(cells(matrix, frozenset({"public.messages"})))
    modes = matrix.connection.execute(
        "select distinct l.mode from pg_locks l join pg_class c on c.oid = l.relation"
        " where l.pid = pg_backend_pid() and l.granted and c.relkind in ('r', 'i')"
    ).fetchall()
    assert {mode for (mode,) in modes} <= {
        "AccessShareLock",
        "RowShareLock",
        "RowExclusiveLock",
    }


def neurant_verify(
    url: str, *more: str, language: str = "en_US.UTF-8"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "neurant", "verify", url, *more],
        env={"LC_ALL": language, "PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_the_report_of_a_sound_database_ends_with_status_0_and_says_so(live_run: Run) -> None:
    assert live_run.done.returncode == 0, live_run.done.stdout + live_run.done.stderr
    told = json.loads(live_run.done.stdout)
    assert told["ok"] is True
    assert {cell["principal"] for cell in told["cells"]} > {"owner", "worker", "visitor"}
    spanish = "\n".join(live_run.report().lines("es"))
    assert "Ninguna empresa ve, cambia ni alcanza los datos de otra" in spanish
    assert "public.messages" in spanish


@pytest.mark.parametrize(("language", "wrong"), [("es", "No confíes"), ("en", "Do not rely")])
def test_a_missing_declaration_does_not_read_like_a_leak(language: Language, wrong: str) -> None:
    def told(*cells: Cell) -> list[str]:
        return list(Report("d", "s", datetime.now(UTC), 1, 1, list(cells), []).lines(language))

    missing = Cell(
        "oracles", "", "private.fresh(uuid)", "call", "p_unheard", "known argument",
        "what is p_unheard called with?", False, "argument",
    )  # fmt: skip
    leak = Cell("rows", "owner", "public.notes", "select", "", "own rows", "all rows", False)
    alone = told(missing)
    assert "oracles/arguments.toml" in alone[-2]
    assert "what is" not in alone[-2]
    assert "p_unheard" in alone[-2]
    assert not any(wrong in line for line in alone)
    assert "1" in alone[-1]
    assert wrong in told(missing, leak)[-1]


@pytest.mark.parametrize("language", ["es", "en"])
def test_every_kind_of_missing_declaration_has_its_text(language: Language) -> None:
    sources = "".join(file.read_text("utf-8") for file in expectations.FOLDER.glob("*.py"))
    told = {name for name in catalogue(language) if name.startswith("verify.undeclared.")}
    kinds = {name.rpartition(".")[2] for name in told} - {"count"}
    assert len(kinds) == 8
    assert all(f'"{kind}"' in sources for kind in kinds)


BREAKS = {
    "alter table public.messages no force row level security": "public.messages",
    "alter policy staff_select on public.documents using (true)": "public.documents",
    "create table public.stray (company_id uuid, secret text)": "public.stray",
    "create view public.peek as select * from public.users": "public.peek",
    "create function private.backdoor() returns integer language sql as 'select 1'": "private.backdoor()",
    "grant select on public.company_keys to visitor": "public.company_keys",
    "alter function private.take_conversation(uuid, boolean) security invoker": "private.take_conversation",
    "create schema foo; grant usage on schema foo to authenticated": "foo authenticated",
    "alter default privileges in schema public grant select on tables to visitor": "SELECT",
}


def test_a_broken_database_is_reported_with_what_is_broken_and_status_1(
    migrated_database: Callable[[], str],
) -> None:
    url = migrated_database()
    with psycopg.connect(url) as db:
        for statement in BREAKS:
            db.execute(statement.encode())
    done = neurant_verify(url, "--json")
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    named = " ".join(
        f"{cell['object']} {cell['found']}" for cell in told["cells"] if not cell["ok"]
    )
    for statement, name in BREAKS.items():
        assert name in named, f"not noticed: {statement}"
    with psycopg.connect(url) as db:  # hundreds of wrong cells: verify stops early
        db.execute("grant all on all tables in schema public to anon")
    for language, warning in (
        ("en_US.UTF-8", "Do not rely on the isolation between companies"),
        ("es_CO.UTF-8", "No confíes en el aislamiento entre empresas"),
    ):
        in_words = neurant_verify(url, language=language)
        assert in_words.returncode == 1
        assert warning in in_words.stdout


def test_a_login_under_row_security_is_shown_that_it_cannot_verify(urls: Urls) -> None:
    with pytest.raises(SetupError, match="bypasses row level security"):
        verify(urls.app)
    with pytest.raises(SetupError, match="must start with postgresql://"):
        verify("sqlite://x")


def test_an_empty_database_is_reported_in_one_line(fresh_database: Callable[[], str]) -> None:
    with pytest.raises(SetupError, match="no NeurAnt schema"):
        verify(fresh_database())
