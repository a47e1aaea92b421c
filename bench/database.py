"""Databases for the measurements, on an embedded PostgreSQL.

A full run gives each measurement a server with the settings that it asks for. A tiny run has one
server for all measurements and gives each of them a database of its own.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from bench.product import (
    RunningServer,
    Urls,
    migrate,
    read_secrets,
    set_login_passwords,
    start_supervised,
)
from bench.sizes import TINY
from bench.support import empty_folder

# A server of a small installation. Pages stay in memory, and a query uses one core. Commits do not
# wait for the disk, so that a figure is about the work and not about the disk.
IN_MEMORY = {
    "shared_buffers": "2GB",
    "effective_cache_size": "6GB",
    "maintenance_work_mem": "512MB",
    "max_wal_size": "8GB",
    "synchronous_commit": "off",
    "max_parallel_workers_per_gather": "0",
    "autovacuum": "off",
}
_TINY_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_parallel_workers_per_gather": "0",
    "max_connections": "200",
}
_TEMPLATE = "migrated"
_NUMBERS = itertools.count(1)
_shared = ExitStack()


@dataclass(frozen=True)
class Database:
    """The addresses of one database, for the superuser, the web login and the worker's login."""

    admin: str
    app: str
    jobs: str

    def named(self, name: str) -> Database:
        """Return another database of the same server."""
        return Database(*(with_name(url, name) for url in (self.admin, self.app, self.jobs)))


def with_name(url: str, name: str) -> str:
    """Return the address of the database ``name`` on the same server."""
    address, parameters = url.split("?")
    return f"{address.rsplit('/', 1)[0]}/{name}?{parameters}"


def value(db: psycopg.Connection[Any], query: str, *parameters: object) -> Any:
    """Return the first column of the first row. Raises LookupError if there is no row."""
    row = db.execute(query.encode(), parameters or None).fetchone()
    if row is None:
        raise LookupError(f"no row: {query}")
    return row[0]


def create(admin: str, name: str, template: str = "template0") -> None:
    """Create an empty database, or a copy of another one."""
    command = sql.SQL("create database {} template {} strategy file_copy")
    with psycopg.connect(with_name(admin, "postgres"), autocommit=True) as db:
        db.execute(command.format(sql.Identifier(name), sql.Identifier(template)))


def drop(admin: str, name: str) -> None:
    """Drop a database, if it exists, even while sessions are connected."""
    command = sql.SQL("drop database if exists {} with (force)")
    with psycopg.connect(with_name(admin, "postgres"), autocommit=True) as db:
        db.execute(command.format(sql.Identifier(name)))


@contextmanager
def temporary(database: Database, template: str = "template0") -> Iterator[Database]:
    """Yield a new database on the same server, and drop it afterwards."""
    name = f"bench_{os.getpid()}_{next(_NUMBERS)}"
    create(database.admin, name, template)
    try:
        yield database.named(name)
    finally:
        drop(database.admin, name)


@contextmanager
def blank(settings: Mapping[str, str]) -> Iterator[Database]:
    """Yield an empty database without our schema."""
    if TINY:
        with temporary(shared()) as database:
            yield database
    else:
        with empty_folder() as folder, running(folder, settings) as server:
            yield of_server(server)


@contextmanager
def migrated(settings: Mapping[str, str]) -> Iterator[Database]:
    """Yield a database with our schema and without a company. Both logins have their passwords."""
    if TINY:
        with temporary(shared(), template=_migrated_template()) as database:
            yield database
    else:
        with empty_folder() as folder, running(folder, settings) as server:
            database = of_server(server)
            migrate(database.admin)
            set_passwords(database, folder)
            yield database


@contextmanager
def running(folder: Path, settings: Mapping[str, str]) -> Iterator[RunningServer]:
    """Run an embedded server on a data folder, until the block ends."""
    server = start_supervised(folder, settings)
    try:
        yield server
    finally:
        server.stop()


def of_server(server: RunningServer) -> Database:
    """Return the first database of an embedded server."""
    return of_urls(server.urls)


def of_urls(urls: Urls) -> Database:
    """Return the same addresses as a Database."""
    return Database(urls.admin, urls.app, urls.jobs)


def set_passwords(database: Database, folder: Path) -> None:
    """Give the logins the passwords of the data folder; their roles exist after ``migrate``."""
    secret = read_secrets(folder)
    set_login_passwords(database.admin, app=secret.app_password, jobs=secret.jobs_password)


def close_shared() -> None:
    """Stop the server of a tiny run."""
    _shared.close()


@cache
def shared() -> Database:
    """Return the server of a tiny run, with our roles."""
    folder = _shared.enter_context(empty_folder())
    server = _shared.enter_context(running(folder, _TINY_SETTINGS))
    database = of_server(server)
    create(database.admin, _TEMPLATE)
    migrate(with_name(database.admin, _TEMPLATE))
    set_passwords(replace(database, admin=with_name(database.admin, _TEMPLATE)), folder)
    return database


def _migrated_template() -> str:
    shared()
    return _TEMPLATE
