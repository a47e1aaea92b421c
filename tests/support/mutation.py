"""How ``make mutate`` runs a test file against a changed schema, by two environment variables that
nothing but ``tests/conftest.py`` reads:

``NEURANT_TEST_MUTANT``  a file of SQL that every migrated database of the tests runs at its end
``NEURANT_TEST_CLUSTER`` a data folder whose copy the session's server starts from (so that no test
                         session waits for the migrations)
``NEURANT_TEST_REACH``   a file that gets the names of the functions that the tests called

Tests that start the whole platform as processes of its own run unchanged: they migrate by themselves.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import psycopg

from neurant.installation import migrate as migrating

_called: set[str] = set()
Migrate = Callable[..., list[str]]


def mutated(migrate: Migrate) -> Migrate:
    """``migrate``, which then breaks the schema where the environment says so."""
    if "NEURANT_TEST_MUTANT" not in os.environ:
        return migrate
    statements = Path(os.environ["NEURANT_TEST_MUTANT"]).read_text("utf-8")

    def migrate_and_mutate(admin_url: str, folder: Path = migrating.MIGRATIONS) -> list[str]:
        applied = migrate(admin_url, folder)
        if folder == migrating.MIGRATIONS:
            with psycopg.connect(admin_url) as db:
                db.execute(statements.encode())
        return applied

    migrating.migrate = migrate_and_mutate  # before any test module takes the name from there
    return migrate_and_mutate


def copy_cluster(data_dir: Path) -> None:
    """Fill the empty folder from the prepared one, if there is one."""
    prepared = os.environ.get("NEURANT_TEST_CLUSTER")
    if prepared:
        copy_tree(Path(prepared), data_dir)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a stopped server's folder with its owners (PostgreSQL may run as another account)."""
    shutil.copytree(source, target, dirs_exist_ok=True)
    for path in (source, *source.rglob("*")):
        state = path.stat()
        os.chown(target / path.relative_to(source), state.st_uid, state.st_gid)


def server_settings() -> dict[str, str]:
    """What the session's server needs besides to count calls."""
    return {"track_functions": "all"} if "NEURANT_TEST_REACH" in os.environ else {}


def note_calls(admin_url: str, *, last: bool = False) -> None:
    """Remember which functions were called in this database; ``last``: in all, and write the file."""
    target = os.environ.get("NEURANT_TEST_REACH")
    if not target:
        return
    with psycopg.connect(admin_url, autocommit=True) as db:
        # A backend tells its calls when it ends.
        everywhere = "" if last else " and datname = current_database()"
        db.execute(
            "select pg_terminate_backend(pid, 2000) from pg_stat_activity"
            f" where backend_type = 'client backend' and pid <> pg_backend_pid(){everywhere}".encode()
        )
        _called.update(
            row[0]
            for row in db.execute(
                "select schemaname || '.' || funcname from pg_stat_user_functions where calls > 0"
            )
        )
    if last:
        Path(target).write_text(json.dumps(sorted(_called)), "utf-8")
