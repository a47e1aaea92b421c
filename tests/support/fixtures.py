"""Fixtures of the pipeline's tests: a database per test, a Telegram peer, the platform in-process."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from tests.support.stage import stage
from tests.support.telegram_peer import TelegramPeer, telegram_peer

__all__ = ["own", "peer", "pipeline_database", "settings", "stage"]


# What migrations write, and every company needs.
CATALOGUES = ["chatbot_templates", "embedding_models", "industries", "permissions", "plans"]


@pytest.fixture(scope="session")
def pipeline_database(urls: Urls, make_migrated_database: Callable[[], str]) -> Urls:
    """A migrated database that only the pipeline's tests use, one after another."""
    name = psycopg.conninfo.conninfo_to_dict(make_migrated_database())["dbname"]
    return Urls(
        *(url.replace("/neurant?", f"/{name}?") for url in (urls.admin, urls.app, urls.jobs))
    )


@pytest.fixture
def own(pipeline_database: Urls) -> Urls:
    """An empty database: its queues hold nothing of another test, and nobody else works on them."""
    with psycopg.connect(pipeline_database.admin) as db:
        db.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        db.execute("set session_replication_role = replica")  # in any order
        for schema, table in db.execute(
            "select schemaname, tablename from pg_tables where schemaname in ('public', 'jobs', 'auth')"
            " and tablename <> all (%s)",
            (CATALOGUES,),
        ).fetchall():
            db.execute(sql.SQL("delete from {}").format(sql.Identifier(schema, table)))
    return pipeline_database


@pytest.fixture
def peer() -> Iterator[TelegramPeer]:
    """A Bot API server on loopback."""
    with telegram_peer() as running:
        yield running


@pytest.fixture
def settings(own: Urls, folder: Path) -> Callable[..., Settings]:
    """Makes settings on this test's database."""

    def make(**given: object) -> Settings:
        values = {
            "data_dir": folder,
            "app_database_url": own.app,
            "jobs_database_url": own.jobs,
            "admin_database_url": own.admin,
            "master_key": base64.b64encode(b"k" * 32).decode(),
            "database_pool_size": 6,
        }
        return Settings(**{**values, **given})

    return make
