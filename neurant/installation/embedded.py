"""The embedded PostgreSQL, which comes in a wheel: start, find and stop it by data folder.

It runs in one of two ways. *Supervised*: a child process that the kernel ends with us, for
``neurant up`` and the tests. *Detached*: a process that outlives the command, for ``neurant db
url``. In both cases one server runs per data folder, on 127.0.0.1 only, with SCRAM passwords, and
on the same port as last time if that is free.

No module here imports a database driver, so that the supervising process stays small.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from neurant.core import stopping
from neurant.core.errors import SetupError
from neurant.installation.install import (
    DATABASE,
    Cluster,
    ensure_cluster,
    ensure_secrets,
    find_cluster_root,
    folder_errors,
    last_problem,
    locked,
    open_data_folder,
    read_secrets,
    settle,
)
from neurant.installation.processes import die_with_parent, end_children, live_process, stop_process

HOST = "127.0.0.1"
_START_SECONDS = 60.0  # crash recovery of a small database may take a while on a slow disk
_STOP_SECONDS = 30.0
_QUIT_SECONDS = 1.0  # an immediate shutdown writes nothing, so it is fast
_BIG_LOG = 10 * 1024 * 1024

# Sized for a whole platform in 400 MB: few backends, no worker pools, no JIT. fsync stays on.
_SETTINGS: Mapping[str, str] = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "60",
    "shared_buffers": "64MB",
    "work_mem": "4MB",
    "maintenance_work_mem": "64MB",
    "effective_cache_size": "512MB",
    "jit": "off",
    "io_method": "sync",
    "max_worker_processes": "4",
    "max_parallel_workers": "2",
    "max_parallel_workers_per_gather": "1",
    "max_logical_replication_workers": "0",
    "autovacuum_max_workers": "2",
    "autovacuum_worker_slots": "2",
    "min_wal_size": "32MB",
    "max_wal_size": "512MB",
    "wal_compression": "on",
    "random_page_cost": "1.1",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %q%u ",
    # The locks of an unreachable client are released soon.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30s",
    "client_connection_check_interval": "10s",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


@dataclass(frozen=True)
class Urls:
    """The database URL of each login of an embedded server."""

    admin: str
    app: str
    jobs: str


@dataclass(frozen=True)
class RunningServer:
    """A supervised server, which is our own child process."""

    process: subprocess.Popen[bytes]
    cluster: Cluster
    port: int
    urls: Urls

    def stop(self, until: float | None = None) -> None:
        """Shut the server down in PostgreSQL's fast mode: statements are cancelled.

        From ``until`` on (by ``time.monotonic``; by default 30 seconds from now) the server is
        ended without a clean shutdown, and the next start recovers the committed data.
        """
        until = time.monotonic() + _STOP_SECONDS if until is None else until
        endings = (signal.SIGINT, until), (signal.SIGQUIT, until + _QUIT_SECONDS)
        end_children([self.process], [*endings, (signal.SIGKILL, until + 2 * _QUIT_SECONDS)])


@dataclass(frozen=True)
class _Postmaster:
    """A live server, as its ``postmaster.pid`` describes it."""

    process: psutil.Process
    port: int
    ready: bool


def start_supervised(
    data_dir: Path, settings: Mapping[str, str] | None = None, *, port: int | None = None
) -> RunningServer:
    """Start the folder's server as a child that dies with us; only from the main thread.

    A server that still runs there (detached, or left by a killed parent) is stopped first. Raises
    SetupError with advice if the folder, the disk or the server does not allow it.
    """
    folder = open_data_folder(data_dir)
    with folder_errors(folder), locked(folder / "postgres.lock", wait=True):
        secret = ensure_secrets(folder)
        cluster = ensure_cluster(folder, secret)
        _stop_running(cluster.root)
        cluster = settle(cluster, folder)
        process, used = _launch(cluster, settings or {}, port, supervised=True)
    return RunningServer(process, cluster, used, _urls(folder, used))


def ensure_detached(data_dir: Path) -> Urls:
    """Return the URLs of the folder's server; start a detached one if none runs."""
    folder = open_data_folder(data_dir)
    with folder_errors(folder), locked(folder / "postgres.lock", wait=True):
        secret = ensure_secrets(folder)
        cluster = ensure_cluster(folder, secret)
        found = _running(cluster.root)
        port = found.port if found and found.ready else None
        if port is None:
            _stop_running(cluster.root)
            cluster = settle(cluster, folder)
            _, port = _launch(cluster, {}, None, supervised=False)
    return _urls(folder, port)


def connection_urls(data_dir: Path) -> Urls:
    """Return the URLs of the server that runs on this folder. Raises SetupError if none does."""
    folder = data_dir.expanduser().resolve()
    found = _running(find_cluster_root(folder))
    if found is None or not found.ready:
        raise SetupError("setup.not_running", folder=folder)
    return _urls(folder, found.port)


def stop(data_dir: Path) -> bool:
    """Stop the folder's server, regardless of which process started it; False if none runs."""
    folder = data_dir.expanduser().resolve()
    if not folder.is_dir():
        return False
    with folder_errors(folder), locked(folder / "postgres.lock", wait=True):
        return _stop_running(find_cluster_root(folder))


def _urls(folder: Path, port: int) -> Urls:
    secret = read_secrets(folder)

    def url(user: str, password: str) -> str:
        return f"postgresql://{user}:{password}@{HOST}:{port}/{DATABASE}?sslmode=disable"

    return Urls(
        admin=url("postgres", secret.admin_password),
        app=url("neurant_app", secret.app_password),
        jobs=url("neurant_jobs", secret.jobs_password),
    )


def _running(root: Path) -> _Postmaster | None:
    """Return the live server of this cluster, if there is one.

    The pid file may be stale and its number in use by another process.
    """
    data = root / "data"
    try:
        lines = (data / "postmaster.pid").read_text("utf-8").splitlines()
        process = live_process(int(lines[0]))
        if process is None or str(data) not in process.cmdline():
            return None
        ready = len(lines) > 7 and lines[7].strip() == "ready"
        return _Postmaster(process, int(lines[3]) if len(lines) > 3 else 0, ready)
    except PermissionError as error:
        raise SetupError("setup.folder_of_another_user", folder=data) from error
    except (OSError, ValueError, IndexError, psutil.Error):
        return None


def _stop_running(root: Path) -> bool:
    """Stop the server that runs on the cluster and delete a stale pid file; False if none ran."""
    found = _running(root)
    if found:
        stop_process(found.process, signal.SIGINT, _STOP_SECONDS, signal.SIGQUIT)
        if _running(root):
            raise SetupError("setup.server_does_not_stop", pid=found.process.pid)
    # PostgreSQL trusts a pid file whose number any process uses. Deleting a stale one is safe:
    # surviving backends still hold the shared memory, which the next start checks as well.
    (root / "data" / "postmaster.pid").unlink(missing_ok=True)
    return found is not None


def _launch(
    cluster: Cluster, settings: Mapping[str, str], port: int | None, *, supervised: bool
) -> tuple[subprocess.Popen[bytes], int]:
    """Start the server and wait until it accepts connections; return the process and its port."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        used = port or _free_port(cluster.root / "port")
        mark = _rotate(cluster.log)
        process = _spawn(cluster, settings, used, supervised=supervised)
        try:
            if _wait_ready(cluster, process, deadline):
                (cluster.root / "port").write_text(f"{used}\n")
                return process, used
        except BaseException:
            soon = time.monotonic() + _QUIT_SECONDS
            end_children([process], [(signal.SIGQUIT, soon), (signal.SIGKILL, soon)])
            raise
        said = cluster.log.read_bytes()[mark:].decode("utf-8", "replace")
        again = "shared memory block" in said or (port is None and "Address already in use" in said)
        if not again or time.monotonic() > deadline:
            code = "setup.disk_full" if os.strerror(errno.ENOSPC) in said else None
            raise SetupError(
                code or "setup.database_failed",
                folder=cluster.root,
                log=cluster.log,
                reason=last_problem(cluster.log),
            )
        stopping.pause(0.2)  # the backends of a killed server end soon


def _spawn(
    cluster: Cluster, settings: Mapping[str, str], port: int, *, supervised: bool
) -> subprocess.Popen[bytes]:
    options = [f"--{name}={value}" for name, value in {**_SETTINGS, **settings}.items()]
    with cluster.open_log() as log:
        return subprocess.Popen(
            [cluster.programs / "postgres", "-D", cluster.data, "-p", str(port), *options],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,  # the terminal's Ctrl-C must reach us only
            preexec_fn=die_with_parent(signal.SIGINT) if supervised else None,
            **cluster.run_as(),
        )


def _wait_ready(cluster: Cluster, process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Return True when the server is ready, False if it ended instead."""
    while process.poll() is None:
        found = _running(cluster.root)
        if found and found.ready and found.process.pid == process.pid:
            return True
        if time.monotonic() > deadline:
            raise SetupError("setup.database_slow", log=cluster.log, seconds=int(_START_SECONDS))
        stopping.pause(0.02)
    return False


def _rotate(log: Path) -> int:
    """Keep one old log, so that the log's size is bounded; return the size of the current one."""
    size = log.stat().st_size if log.exists() else 0
    if size > _BIG_LOG:
        log.replace(log.with_name("log.old"))
        return 0
    return size


def _free_port(remembered: Path) -> int:
    """Return the port of last time if it is free, else another free port."""
    try:
        wanted = int(remembered.read_text())
    except (OSError, ValueError):
        wanted = 0
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SetupError("setup.no_port")
