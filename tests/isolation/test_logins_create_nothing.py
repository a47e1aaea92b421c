"""Who runs SQL as one of the two logins makes nothing that lasts, or that hides what is ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import sql

from neurant.core.errors import SetupError
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from neurant.installation.migrate import set_login_passwords
from neurant.installation.role_settings import strange_settings
from neurant.runtime.startup import ready_to_start
from neurant.verify.catalog import read_catalog
from neurant.verify.catalog_rules import rule_cells
from tests.console.running_web import MASTER_KEY

CREATIONS = (
    "create temporary table users (id uuid)",
    "create temp view users as select 1",
    "select 1 as x into temporary kept",
    "create table public.mine (x int)",
    "create table private.mine (x int)",
    "create schema mine",
    "create function pg_temp.f() returns int language sql as 'select 1'",
    "select lo_create(0)",
    "select lo_creat(-1)",
    "select lo_from_bytea(0, 'kept')",
    "select lo_put(1, 0, 'kept')",
    "select lo_get(1)",
    "select lo_open(1, 131072)",
    "select lo_unlink(1)",
    "select lo_import('/etc/passwd')",
    "select lo_export(1, '/tmp/out')",
    "create role somebody",
    "create publication everything for all tables",
    "copy (select 1) to program 'true'",
)
BECOMES = {
    "app": ("neurant_app", "authenticated", "visitor"),
    "jobs": ("neurant_jobs", "neurant_worker"),
}


@pytest.mark.parametrize("statement", CREATIONS)
@pytest.mark.parametrize(
    ("login", "role"), [(login, role) for login, roles in BECOMES.items() for role in roles]
)
def test_nothing_is_created(urls: Urls, login: str, role: str, statement: str) -> None:
    with psycopg.connect(getattr(urls, login)) as db:
        if not role.startswith("neurant_app"):
            db.execute(sql.SQL("set local role {}").format(sql.Identifier(role)))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute(statement)


@pytest.fixture
def changed(urls: Urls) -> Iterator[Callable[[str, str], None]]:
    """Runs a statement as a login; every setting is taken away again."""

    def change(login: str, statement: str) -> None:
        with psycopg.connect(getattr(urls, login), autocommit=True) as db:
            db.execute(statement)

    yield change
    with psycopg.connect(urls.admin, autocommit=True) as db:
        for role in ("neurant_app", "neurant_jobs"):
            for name in ("search_path", "default_transaction_read_only", "work_mem"):
                where = sql.SQL("alter role {} in database {} reset {}")
                db.execute(
                    sql.SQL("alter role {} reset {}").format(
                        sql.Identifier(role), sql.Identifier(*name.split("."))
                    )
                ) if (role, name) != ("neurant_jobs", "search_path") else None
                db.execute(
                    where.format(
                        sql.Identifier(role),
                        sql.Identifier(db.info.dbname),
                        sql.Identifier(*name.split(".")),
                    )
                )


SETTINGS = (
    ("app", "alter role neurant_app set search_path = evil, public"),
    ("app", "alter role neurant_app set default_transaction_read_only = on"),
    ("app", "alter role neurant_app in database {} set work_mem = '64kB'"),
    ("jobs", "alter role neurant_jobs in database {} set search_path = evil"),
)


@pytest.mark.parametrize(("login", "statement"), SETTINGS)
def test_a_setting_that_a_login_left_is_reported_refused_and_reset(
    urls: Urls, changed: Callable[[str, str], None], login: str, statement: str
) -> None:
    name = psycopg.conninfo.conninfo_to_dict(urls.admin)["dbname"]
    changed(login, statement.format(name))
    with psycopg.connect(urls.admin) as db:
        [found] = strange_settings(db)
        assert found.startswith(f"neurant_{login}: ")
        [cell] = [
            c for c in rule_cells(db, read_catalog(db)) if c.object.startswith("no role carries")
        ]
        assert not cell.ok
    chosen = Settings(master_key=MASTER_KEY)  # the database keeps the first one that it sees
    with pytest.raises(SetupError, match="settings that NeurAnt did not make"):
        ready_to_start(chosen, getattr(urls, login))
    passwords = {
        one: str(psycopg.conninfo.conninfo_to_dict(getattr(urls, one))["password"])
        for one in ("app", "jobs")
    }
    set_login_passwords(urls.admin, **passwords)
    with psycopg.connect(urls.admin) as db:
        assert strange_settings(db) == []


def test_a_limit_of_time_is_the_hosts_to_choose(urls: Urls) -> None:
    with psycopg.connect(urls.admin) as db:  # rolled back
        db.execute("alter role neurant_app set statement_timeout = '30s'")
        assert strange_settings(db) == []
        db.rollback()


def test_verify_tells_of_rights_that_could_not_be_withdrawn(urls: Urls) -> None:
    rule = "no role of ours makes a temporary table or a large object"

    def told() -> bool:
        [cell] = [one for one in rule_cells(db, read_catalog(db)) if one.object == rule]
        return not cell.ok

    name = sql.Identifier(str(psycopg.conninfo.conninfo_to_dict(urls.admin)["dbname"]))
    for statement in (
        sql.SQL("grant temporary on database {} to public").format(name),
        sql.SQL("grant temporary on database {} to visitor").format(name),
        sql.SQL("grant execute on function pg_catalog.lo_create(oid) to public"),
    ):
        with psycopg.connect(urls.admin) as db:  # rolled back
            assert not told()
            db.execute(statement)
            assert told()
            db.rollback()


@pytest.mark.parametrize("login", ["app", "jobs"])
def test_a_session_that_stands_still_in_a_transaction_ends(urls: Urls, login: str) -> None:
    with psycopg.connect(getattr(urls, login)) as db:
        row = db.execute("show idle_in_transaction_session_timeout").fetchone()
        assert row == ("1min",)
