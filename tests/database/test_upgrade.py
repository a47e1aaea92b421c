"""An installation of any version becomes this one, with its rows.

Every state since the first release is reached as its users reached it, one migration at a time: rows
are put in at the version that brought their tables (``released/<version>.sql``), and every later
migration takes them along. So the way from each state to this one is the rest of that way; from the
releases it is tried in one go as well.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from neurant.installation.embedded import RunningServer
from neurant.installation.migrate import MIGRATIONS, migrate
from scripts.dump_schema import SCHEMA, snapshot

RELEASED = Path(__file__).parent / "released"
FILES = sorted(path.name for path in MIGRATIONS.glob("*.sql"))
RELEASES = sorted(path.stem for path in RELEASED.glob("*.sql"))
# What a migration counts anew for rows that are already there: never what a person wrote.
RECOUNTED = {
    "updated_at", "current_chatbot_count", "current_user_count", "current_integration_count",
    "last_message_slot",
}  # fmt: skip
# Catalogues that migrations write and nobody else: a row may be worded anew, but not go away.
CATALOGUES = {"chatbot_templates", "permissions"}

Rows = dict[str, dict[str, dict[str, object]]]
Database = Callable[[], str]


@pytest.fixture(scope="module", autouse=True)
def _need_pg_dump(server: RunningServer) -> None:
    try:
        snapshot(server.urls.admin)
    except LookupError as error:
        pytest.skip(f"the schema cannot be compared: {error}")


@dataclass(frozen=True)
class Way:
    """``states``: a copy of the database at each release. ``last``: where the way ends.
    ``changed``: what a migration did to rows that were there, by its name."""

    states: dict[str, str]
    last: str
    changed: dict[str, list[str]]


@pytest.fixture(scope="module")
def way(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """From the first release to this version, one migration at a time."""
    folder = tmp_path_factory.mktemp("migrations")
    found = Way({}, "upgraded", {})
    copy_database(server, "template0", found.last)
    url = url_of(server, found.last)
    before: Rows = {}
    for name in FILES:
        version = name.split("_")[0]
        shutil.copy(MIGRATIONS / name, folder)
        if version < RELEASES[0]:
            continue
        migrate(url, folder)
        found.changed[name] = changes(before, all_rows(url))
        if version in RELEASES:
            with psycopg.connect(url) as db:
                db.execute((RELEASED / f"{version}.sql").read_bytes())
            found.states[version] = f"released_{version}"
            copy_database(server, found.last, found.states[version])
        before = all_rows(url)
    yield found
    for database in (found.last, *found.states.values()):
        drop_database(server, database)


def changes(before: Rows, after: Rows) -> list[str]:
    """The rows that are not there any more, or not as they were."""
    found = []
    for table, rows in before.items():
        for key, row in rows.items():
            kept = after.get(table, {}).get(key)
            columns = {c for c in row if kept and c in kept and kept[c] != row[c]} - RECOUNTED
            if kept and table in CATALOGUES:
                continue
            if kept is None or columns:
                found.append(f"{table} {key}: {sorted(columns) or 'gone'}")
    return found


def copy_database(server: RunningServer, source: str, target: str) -> None:
    drop_database(server, target)
    statement = sql.SQL("create database {} template {}").format(
        sql.Identifier(target), sql.Identifier(source)
    )
    with psycopg.connect(server.urls.admin, autocommit=True) as db:
        db.execute(statement)


def drop_database(server: RunningServer, name: str) -> None:
    with psycopg.connect(server.urls.admin, autocommit=True) as db:
        db.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def url_of(server: RunningServer, database: str) -> str:
    return server.urls.admin.replace("/neurant?", f"/{database}?")


def all_rows(url: str) -> Rows:
    """Every row of every table of ours, by table and primary key."""
    found: Rows = {}
    with psycopg.connect(url) as db:
        tables = db.execute(
            "select c.oid::regclass::text, array(select a.attname::text from pg_index i"
            " join pg_attribute a on a.attrelid = c.oid and a.attnum = any (i.indkey)"
            " where i.indrelid = c.oid and i.indisprimary order by 1)"
            " from pg_class c where c.relkind = 'r' and c.relnamespace in"
            " ('public'::regnamespace, 'auth'::regnamespace, 'jobs'::regnamespace) order by 1"
        ).fetchall()
        for table, key in tables:
            query = sql.SQL("select to_jsonb(t) from {} t").format(sql.SQL(table))
            rows = [row[0] for row in db.execute(query).fetchall()]
            found[table] = {str([row[column] for column in key]): row for row in rows}
    return found


def test_a_fresh_install_is_what_schema_sql_says(fresh_database: Database) -> None:
    url = fresh_database()
    migrate(url)
    assert snapshot(url) == SCHEMA.read_text("utf-8"), "run `make schema`"


def test_one_migration_at_a_time_leads_here_and_keeps_every_row(
    server: RunningServer, way: Way
) -> None:
    assert not {name: rows for name, rows in way.changed.items() if rows}
    assert snapshot(url_of(server, way.last)) == SCHEMA.read_text("utf-8")


@pytest.mark.parametrize("version", RELEASES)
def test_a_release_becomes_this_version_in_one_go_and_keeps_every_row(
    server: RunningServer, way: Way, version: str
) -> None:
    copy_database(server, way.states[version], "one_go")
    try:
        url = url_of(server, "one_go")
        before = all_rows(url)
        migrate(url)
        assert not changes(before, all_rows(url))
        assert snapshot(url) == SCHEMA.read_text("utf-8"), f"an upgrade from {version} differs"
    finally:
        drop_database(server, "one_go")


@pytest.mark.parametrize("version", RELEASES)
def test_every_table_of_a_release_holds_a_row_of_each_company(
    server: RunningServer, way: Way, version: str
) -> None:
    """Else the test above would show nothing of it."""
    url = url_of(server, way.states[version])
    with psycopg.connect(url) as db:
        companies = {str(row[0]) for row in db.execute("select id from companies").fetchall()}
    assert len(companies) == 2
    lacking = {
        table
        for table, rows in all_rows(url).items()
        if not table.startswith("jobs.")
        if not rows or any("company_id" in row for row in rows.values())
        if {row.get("company_id") for row in rows.values()} != companies
    }
    assert not lacking, f"put rows into tests/database/released/{version}.sql"
