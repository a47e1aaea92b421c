"""``neurant up``: one tree of embedded PostgreSQL, web and worker, kept alive and ended together.

Everything runs in the main thread: the kernel ties the children's lives to it (see processes).
A child that dies is started again, at once the first time and then ever more patiently.
"""

from __future__ import annotations

import contextlib
import http.client
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
from types import FrameType
from typing import Any, Protocol

import psutil

from neurant.database.embedded import HOST, RunningServer, start_supervised
from neurant.database.install import (
    folder_errors,
    locked,
    open_data_folder,
    read_secrets,
    write_private,
)
from neurant.errors import SetupError
from neurant.processes import (
    Child,
    die_with_parent,
    end_with_our_parent,
    live_process,
    stop_process,
)
from neurant.serve import open_listener
from neurant.settings import Settings

_POLL_SECONDS = 0.1
_READY_SECONDS = 60.0
_DRAIN_SECONDS = 10.0
_LEFTOVER_SECONDS = 1.0  # the database of a killed run is gone: patience would be wasted
_DEATHS_BEFORE_READY = 3  # at the first start a child that keeps dying is an error to report
_BIG_LOG = 10 * 1024 * 1024
_FRUGAL = {  # one computing thread and few malloc arenas per process: memory before peak speed
    "MALLOC_ARENA_MAX": "2",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class Listener(Protocol):
    """Who is told what happens. ``name`` is a key of the catalogue's ``cli.step``."""

    def step(self, name: str, **facts: object) -> contextlib.AbstractContextManager[None]:
        """A step that takes a while."""

    def note(self, name: str, **facts: object) -> None:
        """Something that a person should know."""

    def ready(self, address: str, demo: Mapping[str, Any] | None) -> None:
        """The platform answers; ``demo`` is what ``prepare`` told of the sample company."""


class StopRequestedError(BaseException):
    """SIGINT, SIGTERM or SIGHUP arrived."""


@dataclass
class Platform:
    """What runs on one data folder."""

    folder: Path
    settings: Settings
    listener: Listener
    log_to_files: bool
    server: RunningServer
    socket: socket.socket
    children: list[Child] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        """What the children read: their addresses and keys, never on a command line."""
        secret = read_secrets(self.folder)
        key = self.settings.master_key
        urls = self.server.urls
        given = {**os.environ}
        given.pop("NEURANT_LISTEN_DATABASE_URL", None)  # no pooler here: each listens as itself
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
        """A Python child of ours that dies with us."""
        errors = self._log(name) if self.log_to_files else None
        try:
            return subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    *arguments,
                ],  # -P: never a module of the current folder
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=options.pop("stdout", errors),
                stderr=errors,
                start_new_session=True,
                # When we are killed the database goes too: there is nothing left to finish.
                preexec_fn=die_with_parent(signal.SIGKILL),
                **options,
            )
        finally:
            if errors is not None:
                os.close(errors)

    def _log(self, name: str) -> int:
        path = self.folder / "logs" / f"{name}.log"
        with folder_errors(self.folder):
            path.parent.mkdir(exist_ok=True)
            if path.exists() and path.stat().st_size > _BIG_LOG:
                path.replace(path.with_suffix(".old"))
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def failure(self, who: str) -> SetupError:
        """The error that tells where this child has said why it fails."""
        if not self.log_to_files:
            return SetupError("setup.child_failed_above", who=who)
        return SetupError("setup.child_failed", who=who, log=self.folder / "logs" / f"{who}.log")

    def start_web(self) -> subprocess.Popen[bytes]:
        """The web process, on the socket that we keep open for it."""
        number = self.socket.fileno()
        arguments = ("neurant", "serve", "--inherited", str(number))
        return self.spawn("web", *arguments, pass_fds=(number,))

    def start_worker(self) -> subprocess.Popen[bytes]:
        """The worker process."""
        return self.spawn("worker", "neurant", "worker")

    def restart_server(self) -> subprocess.Popen[bytes]:
        """PostgreSQL again, where the others expect it."""
        self.server = start_supervised(self.folder, port=self.server.port)
        return self.server.process

    def look_after(self) -> None:
        """Revive whoever died, telling of it."""
        for child in self.children:
            try:
                news = child.look_after()
            except SetupError as error:  # PostgreSQL cannot start now: a full disk, say
                self.listener.note("cannot_restart", who=child.name, why=error)
                child.postpone()
                continue
            if news:
                self.listener.note(news, who=child.name)
                self.remember()

    def remember(self) -> None:
        """Write down our children, for a next start to end those that outlived us."""
        living = [child.process.pid for child in self.children if child.process]
        known = [[pid, process.create_time()] for pid in living if (process := live_process(pid))]
        with contextlib.suppress(OSError):  # a full disk must not end what still runs
            write_private(self.folder / "processes.json", json.dumps(known))

    def stop(self) -> None:
        """End web and worker together, then PostgreSQL."""
        others = [child.process for child in self.children[1:] if child.process]
        for process in others:
            process.terminate()
        deadline = time.monotonic() + _DRAIN_SECONDS
        for process in others:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.server.stop()
        self.socket.close()


def up(
    settings: Settings, listener: Listener, *, demo: bool, stop_with_parent: bool = False
) -> None:
    """Run the platform until it is asked to stop (or, if so wanted, until who started us is gone).

    Raises SetupError when it cannot start: the folder is in use or unusable, the port is taken,
    a part keeps failing.
    """
    if settings.app_database_url is not None:
        raise SetupError("setup.up_is_embedded")
    folder = open_data_folder(settings.data_dir)
    with _stop_signals(), _only_copy(folder), contextlib.suppress(StopRequestedError):
        if stop_with_parent:
            end_with_our_parent(signal.SIGTERM)
        _end_leftovers(folder)
        _run(folder, settings, listener, demo=demo)


def is_up(data_dir: Path) -> bool:
    """Whether a platform runs on this folder."""
    folder = data_dir.expanduser().resolve()
    if not (folder / "neurant.lock").exists():
        return False
    try:
        with locked(folder / "neurant.lock", wait=False):
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


@contextlib.contextmanager
def _stop_signals() -> Iterator[None]:
    """The first signal interrupts whatever we do; later ones do not disturb the clearing up."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup asks us to outlive the terminal
        numbers.append(signal.SIGHUP)

    def ask(_number: int, _frame: FrameType | None) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise StopRequestedError

    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_leftovers(folder: Path) -> None:
    """Web or worker of a run that was killed, where the kernel did not end them (or not yet)."""
    try:
        known = json.loads((folder / "processes.json").read_text("utf-8"))
    except (OSError, ValueError):
        return
    for pid, created in known:
        process = live_process(pid)
        with contextlib.suppress(psutil.NoSuchProcess):
            if process and process.create_time() == created:
                stop_process(process, signal.SIGTERM, _LEFTOVER_SECONDS, signal.SIGKILL)


def _run(folder: Path, settings: Settings, listener: Listener, *, demo: bool) -> None:
    settings = settings.model_copy(update={"demo": demo})
    with contextlib.ExitStack() as undo:
        web_socket = undo.enter_context(open_listener(settings.host, settings.port))
        with listener.step("database"):
            server = start_supervised(folder)
        undo.callback(server.stop)
        platform = Platform(folder, settings, listener, demo, server, web_socket)
        undo.callback(_stop, platform)
        if server.cluster.moved:
            listener.note("cluster_moved", root=server.cluster.root)
        platform.children = [
            Child("postgresql", platform.restart_server, server.process, started=time.monotonic())
        ]
        company = _bring_up(platform, demo=demo)
        listener.ready(_address(settings), company)
        while True:
            time.sleep(_POLL_SECONDS)
            platform.look_after()


def _stop(platform: Platform) -> None:
    with platform.listener.step("stopping"):
        platform.stop()


def _bring_up(platform: Platform, *, demo: bool) -> Mapping[str, Any] | None:
    """Migrate, start web and worker, and wait until all is ready; the demo's facts."""
    tell = platform.listener
    arguments = ("neurant.prepare", *(("--demo",) if demo else ()))
    prepare = platform.spawn("prepare", *arguments, stdout=subprocess.PIPE)
    try:
        told = _Told(prepare, platform)
        with tell.step("migrations"):
            told.wait_for("migrated")
        platform.children += [
            Child("web", platform.start_web),
            Child("worker", platform.start_worker),
        ]
        for child in platform.children[1:]:
            child.run()
        platform.remember()
        company = None
        if demo:
            with tell.step("company"):
                company = told.wait_for("demo")
        with tell.step("web"):
            _wait_ready(platform)
        if demo:
            with tell.step("documents"):
                told.wait_for("documents")
        return company
    finally:
        if prepare.poll() is None:
            prepare.terminate()
        prepare.wait()


class _Told:
    """The lines that the preparing child writes, read without losing sight of the others."""

    def __init__(self, process: subprocess.Popen[bytes], platform: Platform) -> None:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        self._process, self._platform = process, platform
        self._pipe = process.stdout.fileno()
        os.set_blocking(self._pipe, False)
        self._unread = b""

    def wait_for(self, step: str) -> Mapping[str, Any]:
        """The facts of this step. Raises SetupError when the child fails, telling why."""
        while True:
            _watch(self._platform)
            line, newline, rest = self._unread.partition(b"\n")
            if newline:
                self._unread = rest
                event: dict[str, Any] = json.loads(line)
                if "failed" in event:
                    raise SetupError("setup.told", **event["failed"])
                if event.get("step") == step:
                    return event
                continue
            if not self._read():
                raise self._unexpected_end()

    def _read(self) -> bool:
        """Read what there is; False at the end."""
        try:
            more = os.read(self._pipe, 65536)
        except BlockingIOError:
            time.sleep(_POLL_SECONDS / 4)
            return True
        self._unread += more
        return bool(more)

    def _unexpected_end(self) -> SetupError:
        return self._platform.failure("prepare")


def _wait_ready(platform: Platform) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not _answers(platform.settings):
        _watch(platform)
        if time.monotonic() > deadline:
            raise SetupError("setup.web_not_ready", seconds=int(_READY_SECONDS))
        time.sleep(_POLL_SECONDS / 2)


def _watch(platform: Platform) -> None:
    platform.look_after()
    for child in platform.children:
        if child.deaths >= _DEATHS_BEFORE_READY:
            raise platform.failure(child.name)


def _answers(settings: Settings) -> bool:
    host = {"0.0.0.0": HOST, "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    connection = http.client.HTTPConnection(host, settings.port, timeout=0.5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _address(settings: Settings) -> str:
    if settings.public_url is None and settings.host in ("0.0.0.0", "::"):  # noqa: S104
        return f"http://{HOST}:{settings.port}"
    return settings.base_url()
