"""Migrations: applied once, by anybody, on any PostgreSQL 18, with errors a person can act on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from neurant.core.errors import SetupError
from neurant.installation import migrate as module
from neurant.installation.embedded import RunningServer, Urls
from neurant.installation.migrate import migrate, pending
from neurant.texts import Language
from scripts.schema_files import BASELINE

GOOD = {
    "20260101000000_first.sql": "-- migrate:up\ncreate table public.one (id int);\n"
    "-- migrate:down\n",
    "20260102000000_second.sql": "-- migrate:up\ncreate table public.two (id int);\n"
    "-- migrate:down\n",
}

Database = Callable[[], str]


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    for name, text in GOOD.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "select schemaname || '.' || tablename from pg_tables"
            " where schemaname not in ('pg_catalog', 'information_schema')"
        ).fetchall()
    return {row[0] for row in rows}


def test_it_applies_everything_once_and_keeps_its_books_out_of_public(
    fresh_database: Database, migrations: Path
) -> None:
    url = fresh_database()
    assert pending(url, migrations) == list(GOOD)
    assert migrate(url, migrations) == list(GOOD)
    assert tables(url) == {"public.one", "public.two", "private.schema_migrations"}
    assert migrate(url, migrations) == []
    assert pending(url, migrations) == []


def test_only_what_is_new_is_applied(fresh_database: Database, migrations: Path) -> None:
    url = fresh_database()
    migrate(url, migrations)
    (migrations / "20260103000000_third.sql").write_text(
        "-- migrate:up\ncreate table public.three ();\n-- migrate:down\n"
    )
    assert migrate(url, migrations) == ["20260103000000_third.sql"]


def test_two_at_once_take_turns(fresh_database: Database, migrations: Path) -> None:
    url = fresh_database()
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: migrate(url, migrations), range(2)))
    assert sorted(both) == [[], list(GOOD)]


def test_a_failing_migration_is_named_and_undone(
    fresh_database: Database, migrations: Path
) -> None:
    url = fresh_database()
    (migrations / "20260103000000_bad.sql").write_text(
        "-- migrate:up\ncreate table public.three (); select 1/0;\n-- migrate:down\n"
    )
    with pytest.raises(SetupError, match=r"20260103000000_bad\.sql failed.*division by zero"):
        migrate(url, migrations)
    assert "public.three" not in tables(url)
    assert pending(url, migrations) == ["20260103000000_bad.sql"]


def test_a_first_migration_that_fails_leaves_nothing_behind(fresh_database: Database) -> None:
    url = fresh_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("drop role if exists narrow")
        connection.execute("create role narrow login createrole password 'x'")
        connection.execute("grant create on database " + connection.info.dbname + " to narrow")
    try:
        where = psycopg.conninfo.conninfo_to_dict(url)
        narrow = f"postgresql://narrow:x@{where['host']}:{where['port']}/{where['dbname']}?sslmode=disable"
        with pytest.raises(SetupError) as raised:
            migrate(narrow)
        assert BASELINE in raised.value.detail("es")
        with psycopg.connect(url) as connection:
            left = connection.execute("select to_regnamespace('private')").fetchone()
        assert left == (None,)
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("drop owned by narrow")
            connection.execute("drop role narrow")


def test_a_migration_older_than_the_last_applied_is_refused(
    fresh_database: Database, migrations: Path
) -> None:
    url = fresh_database()
    migrate(url, migrations)
    (migrations / "20251231000000_late.sql").write_text("-- migrate:up\nselect 1;\n")
    with pytest.raises(SetupError, match="20251231000000"):
        migrate(url, migrations)


@pytest.mark.parametrize("language", ["es", "en"])
def test_a_database_of_another_line_of_versions_is_refused_before_anything_changes(
    fresh_database: Database,
    migrations: Path,
    tmp_path_factory: pytest.TempPathFactory,
    language: Language,
) -> None:
    url = fresh_database()
    migrate(url, migrations)
    here = tmp_path_factory.mktemp("another-line")
    (here / "20260201000000_baseline.sql").write_text(
        "-- migrate:up\ncreate table public.three ();\n-- migrate:down\n"
    )
    with pytest.raises(SetupError) as raised:
        migrate(url, here)
    told = raised.value.detail(language)
    assert "20260102000000" in told
    assert "pg_dump" in told
    assert "--data-dir" in told
    assert "\n" not in told
    assert tables(url) == {"public.one", "public.two", "private.schema_migrations"}


def test_a_password_with_every_kind_of_character_reaches_dbmate(
    fresh_database: Database, migrations: Path
) -> None:
    url = fresh_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("drop role if exists odd")
        connection.execute("create role odd superuser login password 'a/b@c:d?e#f%g ñ'")
        here = psycopg.conninfo.conninfo_to_dict(url)
    odd = (
        f"postgres://odd:a%2Fb%40c%3Ad%3Fe%23f%25g%20%C3%B1@{here['host']}:{here['port']}"
        f"/{here['dbname']}?application_name=psql&connect_timeout=5"
    )
    try:
        assert migrate(odd, migrations) == list(GOOD)
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("drop owned by odd")
            connection.execute("drop role odd")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("mysql://root@127.0.0.1/x", "must start with postgresql://"),
        ("host=127.0.0.1", "must start with postgresql://"),
        ("postgresql://nobody@127.0.0.1:1/none", "cannot connect"),
        ("postgresql://nobody@127.0.0.1:notaport/none", "host:5432/database"),
    ],
)
def test_a_wrong_address_is_one_clear_line(url: str, told: str, migrations: Path) -> None:
    with pytest.raises(SetupError, match=told) as raised:
        migrate(url, migrations)
    assert "\n" not in str(raised.value)


def test_a_wrong_password_is_one_clear_line(server: RunningServer, migrations: Path) -> None:
    with pytest.raises(SetupError, match="password authentication failed"):
        migrate(server.urls.admin.replace("postgres:", "postgres:x"), migrations)


def test_an_old_server_is_refused(
    fresh_database: Database, migrations: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_OLDEST_SERVER", 990000)
    with pytest.raises(SetupError, match="this server is version 18"):
        migrate(fresh_database(), migrations)


def test_no_migrations_means_not_a_checkout(server: RunningServer, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="cannot find the migrations"):
        migrate(server.urls.admin, tmp_path)


def test_the_product_s_own_migrations_leave_two_logins_that_can_connect(urls: Urls) -> None:
    for url, login in ((urls.app, "neurant_app"), (urls.jobs, "neurant_jobs")):
        with psycopg.connect(url) as connection:
            assert connection.execute("select session_user").fetchone() == (login,)
    assert pending(urls.admin) == []
