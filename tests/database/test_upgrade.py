"""An installation of any released version becomes this one, with its rows.

``released/<version>.sql`` puts rows into the tables that came with a release. Nothing is released yet,
so the way is tried on the made-up release as well; both go through the same functions.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from neurant.installation.migrate import MIGRATIONS, migrate
from scripts.catalog import catalog, differences
from scripts.migration_lock import read_lock
from scripts.schema_files import BASELINE, assembled
from tests.database.made_up_release import (
    EDITS,
    MIGRATIONS_AFTER,
    edited_schema,
    released,
    with_rows,
)

RELEASED = Path(__file__).parent / "released"
# What a migration counts anew for rows that are already there: never what a person wrote.
RECOUNTED = {"updated_at"}
# Catalogues that migrations write and nobody else: a row may be worded anew, but not go away.
CATALOGUES = {"public.chatbot_templates", "public.permissions"}

Rows = dict[str, dict[str, dict[str, object]]]
Database = Callable[[], str]


def all_rows(url: str) -> Rows:
    """Every row of every table of ours, by table and primary key."""
    found: Rows = {}
    with psycopg.connect(url) as db:
        db.execute("set local search_path = pg_catalog")
        tables = db.execute(
            "select c.oid::regclass::text, array(select a.attname::text from pg_index i"
            " join pg_attribute a on a.attrelid = c.oid and a.attnum = any (i.indkey)"
            " where i.indrelid = c.oid and i.indisprimary order by 1)"
            " from pg_class c where c.relkind = 'r' and c.relname <> 'schema_migrations'"
            " and c.relnamespace::regnamespace::text in ('public', 'private', 'auth', 'jobs')"
            " order by 1"
        ).fetchall()
        for table, key in tables:
            query = sql.SQL("select to_jsonb(t) from {} t").format(
                sql.Identifier(*table.split("."))
            )
            rows = [row[0] for row in db.execute(query).fetchall()]
            found[table] = {str([row[column] for column in key]): row for row in rows}
    return found


def changes(before: Rows, after: Rows) -> list[str]:
    """The rows that are not there any more, or not as they were."""
    found = []
    for table, rows in before.items():
        for key, row in rows.items():
            kept = after.get(table, {}).get(key)
            columns = {c for c in row if kept and kept.get(c, row[c]) != row[c]} - RECOUNTED
            gone = kept is None or row.keys() - kept.keys()
            if gone or (columns and table not in CATALOGUES):
                found.append(f"{table} {key}: {sorted(columns) or 'gone'}")
    return found


def one_at_a_time(url: str, folder: Path, names: list[str], source: Path) -> dict[str, list[str]]:
    """Apply these migrations one after another: what each did to what the release had."""
    found, before = {}, all_rows(url)
    for name in names:
        shutil.copy(source / name, folder)
        assert migrate(url, folder) == [name]
        found[name] = changes(before, all_rows(url))
    return found


@pytest.fixture
def after(tmp_path: Path) -> Path:
    """The migrations of the version after the made-up release."""
    folder = released(tmp_path / "after")
    for name, text in MIGRATIONS_AFTER.items():
        (folder / name).write_text(text, "utf-8")
    return folder


@pytest.fixture
def installed(fresh_database: Database, tmp_path: Path) -> tuple[str, Path]:
    """A database of the made-up release with rows, and the migrations that it has applied."""
    url, folder = fresh_database(), released(tmp_path / "installed")
    with_rows(url, folder)
    return url, folder


def fresh_install(url: str, schema: Path, folder: Path) -> dict[str, str]:
    """The catalog of a database that the schema files make by themselves."""
    folder.mkdir()
    (folder / BASELINE).write_text(assembled(schema), "utf-8")
    migrate(url, folder)
    return catalog(url, seeds=False)


def test_one_migration_at_a_time_keeps_every_row_and_leads_to_the_edited_schema_files(
    installed: tuple[str, Path], after: Path, fresh_database: Database, tmp_path: Path
) -> None:
    url, folder = installed
    changed = one_at_a_time(url, folder, list(MIGRATIONS_AFTER), after)
    assert not {name: rows for name, rows in changed.items() if rows}
    fresh = fresh_install(
        fresh_database(), edited_schema(tmp_path / "schema"), tmp_path / "assembled"
    )
    assert not differences(fresh, catalog(url, seeds=False))


def test_a_release_becomes_the_next_version_in_one_go_and_keeps_every_row(
    installed: tuple[str, Path], after: Path, fresh_database: Database, tmp_path: Path
) -> None:
    url, _ = installed
    before = all_rows(url)
    assert migrate(url, after) == list(MIGRATIONS_AFTER)
    assert not changes(before, all_rows(url))
    fresh = fresh_install(
        fresh_database(), edited_schema(tmp_path / "schema"), tmp_path / "assembled"
    )
    assert not differences(fresh, catalog(url, seeds=False))


@pytest.mark.parametrize("forgotten", EDITS)
def test_a_schema_file_that_was_not_edited_with_its_migration_is_reported(
    installed: tuple[str, Path],
    after: Path,
    fresh_database: Database,
    tmp_path: Path,
    forgotten: str,
) -> None:
    url, _ = installed
    migrate(url, after)
    schema = edited_schema(tmp_path / "schema")
    shutil.copy(MIGRATIONS.parents[2] / "db" / "schema" / forgotten, schema)
    fresh = fresh_install(fresh_database(), schema, tmp_path / "assembled")
    assert any("added" in line for line in differences(fresh, catalog(url, seeds=False)))


@pytest.mark.parametrize(
    "loss",
    [
        "delete from public.notifications",
        "update public.users set first_name = 'Nadie'",
        "alter table public.users drop column phone cascade",
    ],
)
def test_a_migration_that_loses_something_is_noticed(
    installed: tuple[str, Path], tmp_path: Path, loss: str
) -> None:
    url, folder = installed
    bad = tmp_path / "29990101000000_bad.sql"
    bad.write_text(f"-- migrate:up\n-- A loss.\n{loss};\n-- migrate:down\n")
    assert one_at_a_time(url, folder, [bad.name], tmp_path)[bad.name]


def test_every_release_becomes_this_version_and_keeps_every_row(
    fresh_database: Database, tmp_path: Path
) -> None:
    """From the first release on. Each release brings ``released/<version>.sql``."""
    releases = sorted(path.stem for path in RELEASED.glob("*.sql"))
    assert bool(releases) == bool(read_lock()), "a release brings rows, and only a release does"
    for release in releases:
        url, folder = fresh_database(), tmp_path / release
        folder.mkdir()
        for path in sorted(MIGRATIONS.glob("*.sql")):
            version = path.name.split("_")[0]
            if version > release:
                break
            shutil.copy(path, folder)
            rows = RELEASED / f"{version}.sql"
            if rows.exists():
                migrate(url, folder)
                with psycopg.connect(url) as db:
                    db.execute(rows.read_bytes())
        assert not lacking_rows(url), f"put rows into {RELEASED.name}/{release}.sql"
        before = all_rows(url)
        migrate(url)
        assert not changes(before, all_rows(url))
        other = fresh_database()
        migrate(other)
        assert not differences(catalog(other, seeds=False), catalog(url, seeds=False))


def lacking_rows(url: str) -> set[str]:
    """Tables without a row of each of the two companies: of them an upgrade would show nothing."""
    found = set()
    for table, rows in all_rows(url).items():
        of = {row.get("company_id") for row in rows.values()} - {None}
        is_tenants = any("company_id" in row for row in rows.values())
        if not table.startswith("jobs.") and (not rows or (is_tenants and len(of) != 2)):
            found.add(table)
    return found


def test_the_made_up_release_holds_rows_of_both_companies(installed: tuple[str, Path]) -> None:
    """Except in tables that hold digests and counts of a moment, or nothing of a company."""
    url, _ = installed
    assert lacking_rows(url) == {
        "private.attempts",
        "public.account_brakes",
        "public.auth_accounts",
        "public.mail_refusals",
        "public.visitor_allowances",
        "public.visitor_proofs",
    }
