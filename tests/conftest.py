"""What every test may use: one embedded PostgreSQL for the session, migrated, on loopback."""

from __future__ import annotations

import asyncio
import atexit
import functools
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio.to_thread
import certifi
import httpx
import hypothesis
import psycopg
import pytest
from psycopg import sql

from neurant.core.db import pool
from neurant.installation.embedded import RunningServer, Urls, start_supervised
from neurant.installation.install import read_secrets
from neurant.installation.migrate import migrate as migrate_only
from neurant.installation.migrate import set_login_passwords
from tests.support import mutation
from tests.support.skips import (  # noqa: F401  hooks of pytest
    pytest_collectreport,
    pytest_runtest_logreport,
    pytest_sessionfinish,
    pytest_terminal_summary,
)

migrate = mutation.mutated(migrate_only)

# Tests may lose their database in a power cut, and need room: their own writers connect beside the
# web process of the session, whose pool keeps what it once opened. Nothing else differs from what
# users get.
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "120",
}


def hear_signals() -> None:
    """Take the signals back that a run in the background (nohup, a CI runner) starts with ignored.

    Children inherit that, and what the platform does at a signal is tested.
    """
    for number, usual in (
        (signal.SIGHUP, signal.SIG_DFL),
        (signal.SIGINT, signal.default_int_handler),
    ):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, usual)


hear_signals()


def trust_one_certificate() -> None:
    """httpx reads the certificates that it trusts for each client; all of them take 50 ms."""
    first, end, _ = certifi.contents().partition("-----END CERTIFICATE-----\n")
    folder = tempfile.mkdtemp(prefix="neurant-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    certificate = Path(folder) / "one.pem"
    certificate.write_text(first + end)
    certificate.chmod(0o644)
    os.environ["SSL_CERT_FILE"] = str(certificate)


trust_one_certificate()
# An example has no time limit of its own: on a busy machine it would say nothing about the product.
hypothesis.settings.register_profile("neurant", deadline=None)
hypothesis.settings.load_profile("neurant")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the files that take longest first, so that no process has one left at the end."""
    slow = (Path(__file__).parent / "slow_files.txt").read_text("utf-8").split()
    places = {name: place for place, name in enumerate(slow)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(places)))


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def nobody_waits_while_holding_a_connection() -> Iterator[None]:
    """Whoever waits for a thread, another server, a file, a client or a second connection while
    holding a connection fails, in every test and every web process of a test."""

    def refusing(waits_for: str, plain: Callable[..., object]) -> Callable[..., object]:
        @functools.wraps(plain)
        def wait(*args: object, **named: object) -> object:
            pool.must_hold_nothing(waits_for)
            return plain(*args, **named)

        return wait

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "is_strict", True)
        for owner, name, waits_for in (
            (asyncio.base_events.BaseEventLoop, "run_in_executor", "a thread"),
            (anyio.to_thread, "run_sync", "a thread"),
            (httpx.AsyncClient, "send", "another server"),
            (asyncio, "sleep", "time"),
        ):
            patch.setattr(owner, name, refusing(waits_for, getattr(owner, name)))
        yield


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any account may pass through (pytest's own is closed to others)."""
    made = Path(tempfile.mkdtemp(prefix="neurant-test-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def data_dir() -> Iterator[Path]:
    """The data folder of the session's server."""
    made = Path(tempfile.mkdtemp(prefix="neurant-tests-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def server(data_dir: Path) -> Iterator[RunningServer]:
    """The session's PostgreSQL; it dies with the tests, however they end."""
    mutation.copy_cluster(data_dir)
    running = start_supervised(data_dir, FAST | mutation.server_settings())
    yield running
    mutation.note_calls(running.urls.admin, last=True)
    running.stop()


@pytest.fixture(scope="session")
def urls(server: RunningServer, data_dir: Path) -> Urls:
    """A migrated database: ``.admin`` (superuser), ``.app`` (web login), ``.jobs`` (worker)."""
    secret = read_secrets(data_dir)
    migrate(server.urls.admin)
    set_login_passwords(server.urls.admin, app=secret.app_password, jobs=secret.jobs_password)
    passwords = {"neurant_app": secret.app_password, "neurant_jobs": secret.jobs_password}
    with psycopg.connect(server.urls.admin) as admin:
        # Tests open a connection for most statements, so the hashing of a login is short.
        admin.execute("set scram_iterations = 1")
        for role, password in passwords.items():
            admin.execute(
                sql.SQL("alter role {} password {}").format(sql.Identifier(role), password)
            )
    return server.urls


@pytest.fixture(autouse=True)
def no_attempts_of_earlier_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    """All tests connect from the same address, so what one tries would slow the next one down."""
    yield
    if "urls" not in request.fixturenames:
        return
    found: Urls = request.getfixturevalue("urls")
    try:
        _forget_attempts(_cleaning(found.admin))
    except psycopg.OperationalError:  # the test ended every connection of the server
        _cleaning.cache_clear()
        _forget_attempts(_cleaning(found.admin))


@functools.lru_cache(maxsize=1)
def _cleaning(url: str) -> psycopg.Connection:
    """One connection for all tests, because opening one takes longer than the deletion."""
    return psycopg.connect(url, autocommit=True, application_name="tests: cleaning")


def _forget_attempts(admin: psycopg.Connection) -> None:
    admin.execute(
        "delete from public.account_brakes where key_digest in ("
        " select sha256(convert_to(concat_ws('|', kind, 'address', '127.0.0.1'), 'UTF8'))"
        " from unnest('{password,sign_up,reset,sso}'::text[]) kind)"
    )
    admin.execute("delete from private.attempts where address = '127.0.0.1'")


@pytest.fixture
def fresh_database(server: RunningServer) -> Iterator[Callable[[], str]]:
    """Makes an empty database on the session's server; the superuser's URL of it."""
    yield from databases(server)


@pytest.fixture(scope="session")
def make_database(server: RunningServer) -> Iterator[Callable[[], str]]:
    """The same, for databases that several tests share."""
    yield from databases(server)


@pytest.fixture(scope="session")
def template(make_database: Callable[[], str]) -> str:
    """The name of a migrated database to copy: a copy takes a tenth of the time of the migrations."""
    url = make_database()
    migrate(url)
    return str(psycopg.conninfo.conninfo_to_dict(url)["dbname"])


@pytest.fixture
def migrated_database(server: RunningServer, template: str) -> Iterator[Callable[[], str]]:
    """Makes a database with the schema of this version; the superuser's URL of it."""
    yield from databases(server, template)


@pytest.fixture(scope="session")
def make_migrated_database(server: RunningServer, template: str) -> Iterator[Callable[[], str]]:
    """The same, for databases that several tests share."""
    yield from databases(server, template)


_NUMBERS = itertools.count(1)


def databases(server: RunningServer, template: str = "template0") -> Iterator[Callable[[], str]]:
    admin = server.urls.admin
    made: list[str] = []

    def make() -> str:
        name = f"fresh_{os.getpid()}_{next(_NUMBERS)}"
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(
                sql.SQL("create database {} template {} strategy file_copy").format(
                    sql.Identifier(name), sql.Identifier(template)
                )
            )
            if template != "template0":
                # A copy starts with the rights on a database that a migration withdraws.
                connection.execute(
                    sql.SQL("revoke create, temporary on database {} from public").format(
                        sql.Identifier(name)
                    )
                )
        made.append(name)
        return admin.replace("/neurant?", f"/{name}?")

    yield make
    with psycopg.connect(admin, autocommit=True) as connection:
        for name in made:
            mutation.note_calls(admin.replace("/neurant?", f"/{name}?"))
            connection.execute(
                sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
            )
