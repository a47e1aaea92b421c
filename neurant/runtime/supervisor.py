"""``neurant up``: supervise embedded PostgreSQL, web and worker, and stop them together.

Everything runs in the main thread, because the kernel ends the children with that thread (see
``processes``). A child that dies is started again: at once the first time, then later each time.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil

from neurant.core import stopping
from neurant.core.errors import SetupError
from neurant.core.settings import Settings
from neurant.core.stopping import StopRequestedError
from neurant.installation.embedded import HOST, RunningServer, start_supervised
from neurant.installation.install import (
    folder_errors,
    locked,
    open_data_folder,
    read_secrets,
    write_private,
)
from neurant.installation.processes import (
    Child,
    die_with_parent,
    end_children,
    end_with_our_parent,
    live_process,
    stop_process,
)
from neurant.runtime.bring_up import bring_up
from neurant.runtime.serve import open_listener

_POLL_SECONDS = 0.1
# Seconds from the first signal, all below stopping.LAST_RESORT_SECONDS.
_DRAIN_SECONDS = 9.0  # for web and worker to finish; each needs at most 8 by itself
_DATABASE_SECONDS = 11.5  # for PostgreSQL's fast shutdown
_LEFTOVER_SECONDS = 1.0  # short, because the database of a killed run is gone
_BIG_LOG = 10 * 1024 * 1024
_FRUGAL = {  # one computing thread and few malloc arenas per process save memory
    "MALLOC_ARENA_MAX": "2",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class Listener(Protocol):
    """A receiver of progress reports. ``name`` is a key of the texts ``cli.step``."""

    def step(self, name: str, **facts: object) -> contextlib.AbstractContextManager[None]:
        """Report a step that takes a while; the context ends with it."""

    def note(self, name: str, **facts: object) -> None:
        """Report something that a person should know."""

    def ready(self, address: str, demo: Mapping[str, Any] | None) -> None:
        """Report that the platform is ready; ``demo``: the facts of the sample company."""


@dataclass
class Platform:
    """The processes that run on one data folder."""

    folder: Path
    settings: Settings
    listener: Listener
    log_to_files: bool
    server: RunningServer
    socket: socket.socket
    children: list[Child] = field(default_factory=list)
    preparing: subprocess.Popen[bytes] | None = None

    def environment(self) -> dict[str, str]:
        """Return the children's environment with addresses and keys, never on a command line."""
        secret = read_secrets(self.folder)
        key = self.settings.master_key
        urls = self.server.urls
        given = {**os.environ}
        given.pop("NEURANT_LISTEN_DATABASE_URL", None)  # there is no pooler to bypass
        return {
            **_FRUGAL,
            **given,
            "NEURANT_DATA_DIR": str(self.folder),
            "NEURANT_HOST": self.settings.host,
            "NEURANT_PORT": str(self.settings.port),
            "NEURANT_APP_DATABASE_URL": urls.app,
            "NEURANT_JOBS_DATABASE_URL": urls.jobs,
            "NEURANT_MASTER_KEY": key.get_secret_value() if key else secret.master_key,
            "NEURANT_DEMO": "1" if self.settings.demo else "0",
            "PYTHONUNBUFFERED": "1",
        }

    def spawn(self, name: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a Python child process that ends with this process."""
        errors = self._log(name) if self.log_to_files else None
        try:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    *arguments,
                ],  # -P: import no module from the current folder
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=options.pop("stdout", errors),
                stderr=errors,
                start_new_session=True,
                # If this process is killed, the database ends, too, so nothing is left to finish.
                preexec_fn=die_with_parent(signal.SIGKILL),
                **options,
            )
        finally:
            if errors is not None:
                os.close(errors)

    def _log(self, name: str) -> int:
        path = self.folder / "logs" / f"{name}.log"
        with folder_errors(self.folder):
            path.parent.mkdir(mode=0o700, exist_ok=True)
            if path.exists() and path.stat().st_size > _BIG_LOG:
                path.replace(path.with_suffix(".old"))
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def failure(self, who: str) -> SetupError:
        """Return the error that names the log with the reason of a child's failure."""
        if not self.log_to_files:
            return SetupError("setup.child_failed_above", who=who)
        return SetupError("setup.child_failed", who=who, log=self.folder / "logs" / f"{who}.log")

    def start_web(self) -> subprocess.Popen[bytes]:
        """Start the web process on the socket that this process keeps open."""
        number = self.socket.fileno()
        arguments = ("neurant", "serve", "--inherited", str(number))
        return self.spawn("web", *arguments, pass_fds=(number,))

    def start_worker(self) -> subprocess.Popen[bytes]:
        """Start the worker process."""
        return self.spawn("worker", "neurant", "worker")

    def restart_server(self) -> subprocess.Popen[bytes]:
        """Start PostgreSQL again on the same port."""
        self.server = start_supervised(self.folder, port=self.server.port)
        return self.server.process

    def look_after(self) -> None:
        """Restart the children that died, and report it."""
        for child in self.children:
            try:
                news = child.look_after()
            except SetupError as error:  # PostgreSQL cannot start now, for example on a full disk
                self.listener.note("cannot_restart", who=child.name, why=error)
                child.postpone()
                continue
            if news:
                self.listener.note(news, who=child.name)
                self.remember()

    def remember(self) -> None:
        """Store the children's process ids, so that the next start can end surviving children."""
        living = [child.process.pid for child in self.children if child.process]
        known = [[pid, process.create_time()] for pid in living if (process := live_process(pid))]
        with contextlib.suppress(OSError):  # a full disk must not end the running processes
            write_private(self.folder / "processes.json", json.dumps(known))

    def stop(self) -> None:
        """End web and worker together, then PostgreSQL, within 14 seconds of the first signal."""
        began = stopping.requested_at()
        others = [child.process for child in self.children[1:] if child.process]
        drained = began + _DRAIN_SECONDS
        end_children(others, [(signal.SIGTERM, drained), (signal.SIGKILL, drained)])
        self.server.stop(until=began + _DATABASE_SECONDS)
        self.socket.close()

    def kill(self) -> None:
        """Kill all children at once, from a signal handler, as the last resort."""
        processes = [child.process for child in self.children]
        for process in (*processes, self.preparing, self.server.process):
            if process is not None and process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)


def up(
    settings: Settings, listener: Listener, *, demo: bool, stop_with_parent: bool = False
) -> None:
    """Run the platform until a stop signal, or (``stop_with_parent``) until the parent ends.

    Raises SetupError if it cannot start: the folder is in use or unusable, the port is taken, or a
    process keeps failing.
    """
    if settings.app_database_url is not None:
        raise SetupError("setup.up_is_embedded")
    if stop_with_parent:
        end_with_our_parent(signal.SIGTERM)
    folder = open_data_folder(settings.data_dir)
    settings = settings.model_copy(update={"demo": demo})
    # Before our handlers are installed, a signal ends this process; no child runs yet.
    with _only_copy(folder), open_listener(settings.host, settings.port) as web_socket:
        running: list[Platform] = []

        def kill() -> None:
            for platform in running:
                platform.kill()

        with stopping.stop_signals(kill), contextlib.suppress(StopRequestedError):
            _end_leftovers(folder)
            _run(folder, settings, listener, web_socket, running)


def is_up(data_dir: Path) -> bool:
    """Return whether a platform runs on this folder."""
    folder = data_dir.expanduser().resolve()
    if not (folder / "neurant.lock").exists():
        return False
    try:
        with folder_errors(folder), locked(folder / "neurant.lock", wait=False):
            return False
    except BlockingIOError:
        return True


@contextlib.contextmanager
def _only_copy(folder: Path) -> Iterator[None]:
    with contextlib.ExitStack() as held:
        try:
            with folder_errors(folder):
                held.enter_context(locked(folder / "neurant.lock", wait=False))
        except BlockingIOError as error:
            raise SetupError("setup.already_up", folder=folder) from error
        yield


def _end_leftovers(folder: Path) -> None:
    """End the web and worker processes of a killed run that the kernel has not ended."""
    try:
        known = json.loads((folder / "processes.json").read_text("utf-8"))
    except (OSError, ValueError):
        return
    for pid, created in known:
        process = live_process(pid)
        with contextlib.suppress(psutil.NoSuchProcess):
            if process and process.create_time() == created:
                stop_process(process, signal.SIGTERM, _LEFTOVER_SECONDS, signal.SIGKILL)


def _run(
    folder: Path,
    settings: Settings,
    listener: Listener,
    web_socket: socket.socket,
    running: list[Platform],
) -> None:
    """Start and supervise everything until a stop; ``running`` gets the platform to kill."""
    with contextlib.ExitStack() as undo:
        with listener.step("database"):
            server = start_supervised(folder)
        platform = Platform(folder, settings, listener, settings.demo, server, web_socket)
        running.append(platform)
        undo.callback(_stop, platform)
        if server.cluster.moved:
            listener.note("cluster_moved", root=server.cluster.root)
        if server.cluster.is_shared:
            listener.note("cluster_shared", root=server.cluster.root)
        platform.children = [
            Child("postgresql", platform.restart_server, server.process, started=time.monotonic())
        ]
        company = bring_up(platform)
        listener.ready(_address(settings), company)
        while True:
            stopping.pause(_POLL_SECONDS)
            platform.look_after()


def _stop(platform: Platform) -> None:
    with platform.listener.step("stopping"):
        platform.stop()


def _address(settings: Settings) -> str:
    if settings.public_url is None and settings.host in ("0.0.0.0", "::"):  # noqa: S104
        return f"http://{HOST}:{settings.port}"
    return settings.base_url()
