"""Fixtures of the pipeline's tests: a database per test, a Telegram peer, the platform in-process."""

from __future__ import annotations

import base64
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from support.stage import stage
from support.telegram_peer import TelegramPeer, telegram_peer

from neurant.database.embedded import RunningServer, Urls
from neurant.database.migrate import migrate
from neurant.settings import Settings

__all__ = ["own", "peer", "settings", "stage", "template"]
_numbers = itertools.count(1)


def _named(urls: Urls, name: str) -> Urls:
    return Urls(
        *(url.replace("/neurant?", f"/{name}?") for url in (urls.admin, urls.app, urls.jobs))
    )


@pytest.fixture(scope="session")
def template(urls: Urls) -> str:
    """The name of a migrated database that nobody connects to, to be copied."""
    name = f"template_{os.getpid()}"
    with psycopg.connect(urls.admin, autocommit=True) as db:
        db.execute(sql.SQL("create database {} template template0").format(sql.Identifier(name)))
    migrate(_named(urls, name).admin)
    return name


@pytest.fixture
def own(server: RunningServer, urls: Urls, template: str) -> Iterator[Urls]:
    """A migrated database of this test's own: its queues hold nothing of another test."""
    name = f"own_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(urls.admin, autocommit=True) as db:
        db.execute(
            sql.SQL("create database {} template {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )
    yield _named(urls, name)
    with psycopg.connect(urls.admin, autocommit=True) as db:
        db.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


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
