"""The commands as a person types them: what they print, where, and how they fail."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
from rich.console import Console

from neurant.cli.main import db_url
from neurant.cli.output import Teller
from neurant.core.errors import SetupError
from neurant.core.settings import Settings
from neurant.installation.embedded import RunningServer, Urls, connection_urls, stop
from neurant.installation.migrate import MIGRATIONS

SPANISH, ENGLISH = {"LC_ALL": "es_CO.UTF-8"}, {"LC_ALL": "en_US.UTF-8"}


def neurant(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("NEURANT_", "LC_", "LANG"))}
    return subprocess.run(
        [sys.executable, "-m", "neurant", *map(str, arguments)],
        env={**clean, **ENGLISH, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def fails_with_one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.fixture
def home(folder: Path) -> Iterator[Path]:
    yield folder / "data"
    stop(folder / "data")


def test_help_is_quick_and_in_the_language_of_the_locale() -> None:
    started = time.monotonic()
    told = neurant("--help", **SPANISH).stdout
    assert time.monotonic() - started < 3
    assert "chatbots que responden con los documentos" in told
    for command in ("up", "serve", "worker", "migrate", "db", "knowledge", "channels"):
        assert command in told
    assert "chatbots that answer from" in neurant("--help").stdout
    assert "chatbots que responden" in neurant("--help", LC_ALL="", LANG="C.UTF-8").stdout


def test_help_loads_neither_the_web_framework_nor_a_database_driver_nor_numbers() -> None:
    code = (
        "import sys, neurant.cli, neurant.runtime.supervisor, neurant.cli.output;"
        "print([m for m in ('fastapi', 'psycopg', 'numpy', 'uvicorn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_db_url_prints_only_a_migrated_database_that_outlives_it_until_db_stop(
    home: Path,
) -> None:
    first = neurant("db", "url", "--data-dir", home)
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""
    [url] = first.stdout.splitlines()
    with psycopg.connect(url) as connection:
        facts = connection.execute(
            "select rolsuper, (select count(*) from private.schema_migrations)"
            " from pg_roles where rolname = session_user"
        ).fetchone()
    assert facts == (True, len(list(MIGRATIONS.glob("*.sql"))))
    for login in (connection_urls(home).app, connection_urls(home).jobs):
        psycopg.connect(login).close()
    assert neurant("db", "url", "--data-dir", home).stdout == first.stdout
    assert neurant("db", "stop", "--data-dir", home).stdout == "Database stopped.\n"
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    assert neurant("db", "stop", "--data-dir", home).stdout == "No database was running.\n"


def test_migrate_twice_is_harmless_and_needs_only_a_url(fresh_database: object) -> None:
    assert callable(fresh_database)
    url = fresh_database()
    first = neurant("migrate", url)
    assert first.stdout.count("Applied: ") == len(list(MIGRATIONS.glob("*.sql"))), first.stderr
    again = neurant("migrate", NEURANT_ADMIN_DATABASE_URL=url)
    assert again.stdout == "The database is already up to date.\n"


def test_a_wrong_database_address_is_one_line(server: RunningServer) -> None:
    assert "must start with postgresql://" in fails_with_one_line(neurant("migrate", "sqlite://x"))
    nowhere = neurant("migrate", "postgresql://x@127.0.0.1:1/x", **SPANISH)
    assert "No puedo conectarme a la base de datos" in fails_with_one_line(nowhere)
    wrong = server.urls.admin.replace("postgres:", "postgres:x")
    assert "password authentication failed" in fails_with_one_line(neurant("migrate", wrong))


def test_an_unreadable_database_address_is_one_line_without_its_password() -> None:
    for url in ("postgresql://u:p%40s3cret%zz@host/n", "postgresql://u:s3cret/x@host/n"):
        for command in (("migrate", url), ("verify", url), ("audit", "verify", url)):
            told = fails_with_one_line(neurant(*command))
            assert "as %25" in told
            assert "s3cret" not in told
        named = fails_with_one_line(neurant("verify", NEURANT_ADMIN_DATABASE_URL=url))
        assert "s3cret" not in named


def test_audit_verify_does_not_tell_the_password_of_a_store_it_cannot_open() -> None:
    key = {"NEURANT_AUDIT_KEY": "a" * 43 + "="}
    url, heads = "postgresql://x@127.0.0.1:1/x", "ftp://u:s3cret@x/y"
    told = fails_with_one_line(neurant("audit", "verify", url, "--heads", heads, **key))
    assert "--heads" in told
    assert "s3cret" not in told


def test_commands_for_a_running_platform_say_when_there_is_none(home: Path, tmp_path: Path) -> None:
    document = tmp_path / "a.txt"
    document.write_text("hola")
    here = ("--data-dir", home)
    for command in (
        ("migrate", *here),
        ("knowledge", "add", document, "--bot", "Ana", *here),
        ("channels", "connect", "telegram", "--bot", "Ana", "--token", "1:a", *here),
    ):
        assert "No platform is running" in fails_with_one_line(neurant(*command))


def test_a_setting_that_makes_no_sense_is_named_in_one_line(home: Path) -> None:
    done = neurant("up", "--data-dir", home, NEURANT_PORT="eight")
    assert "NEURANT_PORT is not valid" in fails_with_one_line(done)


def test_up_refuses_a_port_in_use_and_a_host_that_is_not_ours(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = neurant("up", "--data-dir", home, "--port", port)
        assert f"Port {port} is already in use" in fails_with_one_line(done)
        served = neurant("serve", "--port", port, **SPANISH)
        assert f"El puerto {port} ya está ocupado" in fails_with_one_line(served)
    unset = neurant("serve", "--port", port)
    assert "NEURANT_APP_DATABASE_URL" in fails_with_one_line(unset)
    for host in ("192.0.2.1", "no such host"):
        done = neurant("up", "--data-dir", home, "--host", host)
        assert f"cannot listen on the address {host}" in fails_with_one_line(done)


def test_up_does_not_pretend_to_use_a_database_of_yours(home: Path, urls: Urls) -> None:
    done = neurant("up", "--data-dir", home, NEURANT_APP_DATABASE_URL=urls.app)
    assert "brings its own database" in fails_with_one_line(done)


def test_up_and_db_url_on_a_file_instead_of_a_folder_are_one_line(folder: Path) -> None:
    (folder / "data").write_text("a file")
    for command in (("up",), ("db", "url")):
        done = neurant(*command, "--data-dir", folder / "data")
        assert "cannot write to the folder" in fails_with_one_line(done)


def test_output_cut_short_by_its_reader_is_no_traceback() -> None:
    shown = subprocess.run(
        f"{sys.executable} -m neurant --help | head -1", shell=True, capture_output=True, text=True
    )
    assert "Traceback" not in shown.stderr


def test_up_without_a_sample_company_says_where_to_sign_up_and_where_mail_goes(
    folder: Path,
) -> None:
    console = Console(file=io.StringIO(), width=300)
    Teller(Settings(data_dir=folder), "en", console).ready("http://here", None)
    assert isinstance(console.file, io.StringIO)
    told = console.file.getvalue()
    assert "http://here/signup" in told
    assert str(folder / "mail") in told


def test_db_url_is_printed_also_where_migrating_fails(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_url: str) -> list[str]:
        raise SetupError("setup.migration_failed", file="20990101.sql", reason="no")

    monkeypatch.setattr("neurant.installation.migrate.migrate", fails)
    where = SimpleNamespace(admin="postgresql://here")
    monkeypatch.setattr("neurant.installation.embedded.ensure_detached", lambda _folder: where)
    db_url(folder)
    told = capsys.readouterr()
    assert told.out == "postgresql://here\n"
    assert "20990101.sql" in told.err
