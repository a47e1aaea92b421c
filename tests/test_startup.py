"""What is wrong with an installation is told in one line to who starts it, and to nobody else."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import LiteralString, get_args

import httpx
import psycopg
import pytest
from pydantic import SecretStr

from neurant.core.errors import SetupError
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls, start_supervised
from neurant.runtime.app import create_app
from neurant.runtime.startup import ready_to_start
from neurant.texts import Language
from tests.support.platform import free_port, serving
from tests.test_cli import SPANISH, fails_with_one_line, neurant

KEY, OTHER = (base64.b64encode(letter * 32).decode() for letter in (b"k", b"o"))
NOWHERE = "postgresql://nobody@127.0.0.1:9/nothing"


@pytest.mark.parametrize("command", ["serve", "worker"])
@pytest.mark.parametrize("key", [None, "not base64!", base64.b64encode(b"short").decode()])
def test_a_process_does_not_start_without_a_valid_master_key(command: str, key: str | None) -> None:
    given = {"NEURANT_MASTER_KEY": key} if key else {}
    urls = {"NEURANT_APP_DATABASE_URL": NOWHERE, "NEURANT_JOBS_DATABASE_URL": NOWHERE}
    port = ("--port", "18931") if command == "serve" else ()
    told = fails_with_one_line(neurant(command, *port, **urls, **given))
    assert "NEURANT_MASTER_KEY" in told


@pytest.mark.parametrize(
    ("setting", "value", "part"),
    [
        ("NEURANT_STRIPE_PRICES", "{bad", "not JSON"),
        ("NEURANT_STRIPE_PRICES", '{"gold": "price_1"}', "gold"),
        ("NEURANT_BILLING", "stripe", "NEURANT_STRIPE_SECRET_KEY"),
        ("NEURANT_SUPABASE_URL", "project", "NEURANT_SUPABASE_URL"),
        ("NEURANT_SMTP_URL", "mail.acme.co", "NEURANT_SMTP_URL"),
        ("NEURANT_MAIL_FROM", "nobody", "NEURANT_MAIL_FROM"),
        ("NEURANT_TRUSTED_PROXIES", "10.0.0.300", "NEURANT_TRUSTED_PROXIES"),
        ("NEURANT_NEW_COMPANY_PLAN", "gold", "gold"),
        ("NEURANT_NEW_COMPANY_PLAN", "gold", "professional"),
        ("NEURANT_PUBLIC_URL", "hello", "NEURANT_PUBLIC_URL"),
        ("NEURANT_PUBLIC_URL", "https://neurant.example:port", "NEURANT_PUBLIC_URL"),
        ("NEURANT_AUDIT_KEY", "foo", "NEURANT_AUDIT_KEY"),
        ("NEURANT_REPLICA_DATABASE_URL", "replica:5432", "NEURANT_REPLICA_DATABASE_URL"),
    ],
)
def test_a_wrong_setting_is_one_line(setting: str, value: str, part: str, tmp_path: object) -> None:
    told = fails_with_one_line(neurant("up", "--data-dir", tmp_path, **{setting: value}))
    assert part in told


DATABASES = ("APP", "JOBS", "ADMIN", "LISTEN", "REPLICA")
UNUSABLE = (
    "postgresql://neurant_app:s3cret%zz@host/n",
    "postgresql://neurant_app:s3cret/x@host/n",
    "postgresql://neurant_app:x@s3cret@host/n",
    "postgresql://neurant_app:a s3cret@host/n",
    "postgresql://neurant_app@host/n?s3cret=1",
    "mysql://u:s3cret@x",
    "s3cret",
)
USABLE = (
    NOWHERE,
    "postgres://u:p%25%40%2F%23@h:5432/n?sslmode=verify-full&connect_timeout=3",
    "postgresql:///n?host=/run/postgresql",
    "postgresql:///n?host=/run/a@b",
    "postgresql://h:1,g/n?target_session_attrs=read-write",
    "postgresql://u@[::1]:5432/n",
)


@pytest.mark.parametrize("value", UNUSABLE)
@pytest.mark.parametrize("of", DATABASES)
def test_an_unusable_database_address_is_refused_without_a_word_of_it(of: str, value: str) -> None:
    setting = f"NEURANT_{of}_DATABASE_URL"
    with pytest.raises(SetupError) as refused:
        Settings(**{f"{of.lower()}_database_url": value})
    for language in get_args(Language):
        told = refused.value.detail(language)
        assert setting in told
        assert "%25" in told
        assert "s3cret" not in told


@pytest.mark.parametrize("value", [*USABLE, ""])
@pytest.mark.parametrize("of", DATABASES)
def test_every_address_that_postgresql_reads_is_taken(of: str, value: str) -> None:
    kept = getattr(Settings(**{f"{of.lower()}_database_url": value}), f"{of.lower()}_database_url")
    assert (kept.get_secret_value() if kept else "") == value


@pytest.mark.parametrize(
    ("command", "setting"),
    [("serve", "NEURANT_APP_DATABASE_URL"), ("worker", "NEURANT_LISTEN_DATABASE_URL")],
)
def test_no_process_starts_or_tells_the_password_of_an_unusable_database(
    command: str, setting: str
) -> None:
    urls = {"NEURANT_APP_DATABASE_URL": NOWHERE, "NEURANT_JOBS_DATABASE_URL": NOWHERE}
    port = ("--port", "18932") if command == "serve" else ()
    given = {**urls, "NEURANT_MASTER_KEY": KEY, setting: UNUSABLE[0]}
    told = fails_with_one_line(neurant(command, *port, **given))
    assert setting in told
    assert "s3cret" not in told


@pytest.mark.parametrize("value", ["ftp://u:s3cret@x/y", "s3cret", "file:///s3cret/is/not/there"])
def test_a_store_that_cannot_be_opened_is_one_line_without_its_address(
    value: str, tmp_path: Path
) -> None:
    told = fails_with_one_line(neurant("up", "--data-dir", tmp_path, NEURANT_FILES_URL=value))
    assert "NEURANT_FILES_URL" in told
    assert "s3cret" not in told


def test_a_wrong_setting_is_reported_in_one_language(tmp_path: Path) -> None:
    for setting, value in (
        ("NEURANT_TERMS_URL", "hello"),
        ("NEURANT_PUBLIC_URL", "https://[hello"),
        ("NEURANT_BILLING_CONTACT", "hello"),
        ("NEURANT_STRIPE_PRICES", '{"gold": "price_1"}'),
        ("NEURANT_TRUSTED_PROXIES", "hello"),
    ):
        done = neurant("up", "--data-dir", tmp_path, **{setting: value}, **SPANISH)
        told = fails_with_one_line(done)
        assert setting in told
        assert "Value error" not in told
        assert " no " in told


def test_the_first_master_key_is_the_one_and_another_is_refused(
    migrated_database: Callable[[], str],
) -> None:
    url = migrated_database()
    mine, another = (Settings(master_key=SecretStr(key)) for key in (KEY, OTHER))
    for _ in range(2):
        ready_to_start(mine, url)
    with pytest.raises(SetupError) as refused:
        ready_to_start(another, url)
    assert refused.value.code == "wrong_master_key"


def test_a_data_folder_of_an_earlier_commit_is_refused_untouched_with_what_to_do(
    folder: Path,
) -> None:
    def asked(query: LiteralString) -> list[tuple[object, ...]]:
        server = start_supervised(folder)
        try:
            with psycopg.connect(server.urls.admin) as db:
                done = db.execute(query)
                return done.fetchall() if done.description else []
        finally:
            server.stop()

    asked(
        "create schema private; create table private.schema_migrations (version text primary key);"
        " insert into private.schema_migrations values ('20261122000001');"
        " create table public.companies (name text); insert into public.companies values ('acme')"
    )
    everything: LiteralString = (
        "select c.oid::regclass::text, (select string_agg(x.name, ',') from public.companies x),"
        " (select string_agg(m.version, ',') from private.schema_migrations m)"
        " from pg_class c where c.oid >= 16384 order by 1"
    )
    before = asked(everything)
    for language, words in ((SPANISH, "no se cambió nada"), ({}, "nothing was changed")):
        done = neurant("up", "--data-dir", folder, **language)
        [told] = done.stderr.splitlines()
        assert done.returncode == 1
        assert words in told
        assert "pg_dump" in told
        assert "--data-dir" in told
    assert asked(everything) == before


@pytest.mark.anyio
async def test_a_setup_error_is_not_shown_to_the_caller(urls: Urls, tmp_path: Path) -> None:
    settings = Settings(
        app_database_url=SecretStr(urls.app), master_key=None, data_dir=tmp_path, log_level="error"
    )
    async with (
        serving(create_app(settings), free_port(), lifespan="on") as base,
        httpx.AsyncClient(base_url=base, timeout=30) as http,
    ):
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()) == (503, {"status": "no valid master key"})
        body = {
            "first_name": "Ana", "last_name": "Gil",
            "email": "ana@acme-startup.co", "password": "una-clave-larga-93", "accept_terms": True,
        }  # fmt: skip
        told = await http.post("/v1/accounts", json=body)
        assert told.status_code == 500, told.text
        assert told.json()["code"] == "internal"
        assert "NEURANT" not in told.text
