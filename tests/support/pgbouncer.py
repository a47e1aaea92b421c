"""A PgBouncer in transaction mode in front of the tests' server, as a company would run it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from neurant.installation.embedded import RunningServer
from neurant.installation.processes import die_with_parent

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@dataclass(frozen=True)
class Pooled:
    """The web's and the worker's URLs through the pooler."""

    app: str
    jobs: str


@contextmanager
def pgbouncer(
    server: RunningServer, folder: Path, database: str, *, app: int, jobs: int
) -> Iterator[Pooled]:
    """Runs one with so many server connections for each login. ``folder``: others may enter it."""
    logins = [urlsplit(url) for url in (server.urls.app, server.urls.jobs)]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = f"host=127.0.0.1 port={server.port} dbname={database}"
    users = folder / "users.txt"
    settings = folder / "pgbouncer.ini"
    users.write_text("".join(f'"{one.username}" "{one.password}"\n' for one in logins))
    settings.write_text(
        f"[databases]\napp = {place} pool_size={app}\njobs = {place} pool_size={jobs}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = scram-sha-256\nauth_file = {users}\npool_mode = transaction\n"
        "max_client_conn = 200\nquery_wait_timeout = 60\n"
    )
    run_as = server.cluster.run_as()  # it refuses to be root, as PostgreSQL does
    for path in (users, settings):
        path.chmod(0o600)
        if run_as:
            os.chown(path, run_as["user"], run_as["group"])
    assert PROGRAM
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, "-q", settings],
            stdout=log,
            stderr=log,
            cwd="/",
            preexec_fn=die_with_parent(signal.SIGINT),
            **run_as,
        )
    try:
        urls = [
            f"postgresql://{one.username}:{one.password}@127.0.0.1:{port}/{name}?sslmode=disable"
            for one, name in zip(logins, ("app", "jobs"), strict=True)
        ]
        _wait_ready(process, urls[0], folder / "log")
        yield Pooled(*urls)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def _wait_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + 15
    while True:
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no PgBouncer: {log.read_text('utf-8')}") from None
            time.sleep(0.05)
