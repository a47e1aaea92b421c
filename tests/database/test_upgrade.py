"""An installation of any released version becomes this one, with its rows.

Each released state is reached as its users reached it: rows are put in at the version that brought
their tables (``released/<version>.sql``), and every later migration takes them along.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from neurant.database.embedded import RunningServer
from neurant.database.migrate import MIGRATIONS, migrate
from scripts.dump_schema import SCHEMA, snapshot

RELEASED = Path(__file__).parent / "released"
FIRST_RELEASE = "20261122000012"
FILES = sorted(path.name for path in MIGRATIONS.glob("*.sql"))
VERSIONS = [version for name in FILES if (version := name.split("_")[0]) >= FIRST_RELEASE]
RELEASES = sorted(path.stem for path in RELEASED.glob("*.sql"))
# What a migration counts anew for rows that are already there: never what a person wrote.
RECOUNTED = {
    "updated_at", "current_chatbot_count", "current_user_count", "current_integration_count",
}  # fmt: skip

Rows = dict[str, dict[str, dict[str, object]]]
Database = Callable[[], str]


@pytest.fixture(scope="module", autouse=True)
def _need_pg_dump(server: RunningServer) -> None:
    try:
        snapshot(server.urls.admin)
    except LookupError as error:
        pytest.skip(f"the schema cannot be compared: {error}")


@pytest.fixture(scope="module")
def states(
    server: RunningServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The name of a database in each released state, with that release's rows; by version."""
    folder = tmp_path_factory.mktemp("migrations")
    made: dict[str, str] = {}
    previous = "template0"
    for name in FILES:
        version = name.split("_")[0]
        shutil.copy(MIGRATIONS / name, folder)
        if version < FIRST_RELEASE:
            continue
        made[version] = f"released_{version}"
        copy_database(server, previous, made[version])
        url = url_of(server, made[version])
        migrate(url, folder)
        rows = RELEASED / f"{version}.sql"
        if rows.exists():
            with psycopg.connect(url) as db:
                db.execute(rows.read_bytes())
        previous = made[version]
    yield made
    for database in made.values():
        drop_database(server, database)


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


@pytest.mark.parametrize("version", VERSIONS)
def test_every_released_version_becomes_this_one_with_its_rows(
    server: RunningServer, states: dict[str, str], version: str
) -> None:
    database = f"upgraded_{version}"
    copy_database(server, states[version], database)
    try:
        url = url_of(server, database)
        before = all_rows(url)
        migrate(url)
        assert snapshot(url) == SCHEMA.read_text("utf-8"), f"an upgrade from {version} differs"
        after = all_rows(url)
    finally:
        drop_database(server, database)
    for table, rows in before.items():
        for key, row in rows.items():
            kept = after[table][key]
            changed = {c for c, value in row.items() if c in kept and kept[c] != value}
            assert changed <= RECOUNTED, f"{table} {key}"


@pytest.mark.parametrize("version", RELEASES)
def test_every_table_of_a_release_holds_a_row_of_each_company(
    server: RunningServer, states: dict[str, str], version: str
) -> None:
    """Else the test above would show nothing of it."""
    url = url_of(server, states[version])
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
