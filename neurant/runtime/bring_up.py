"""Bring a platform up: migrate, start web and worker, and wait until the platform is ready."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from neurant.core import stopping
from neurant.core.errors import SetupError
from neurant.installation.embedded import HOST
from neurant.installation.processes import Child, end_children

if TYPE_CHECKING:
    from neurant.runtime.supervisor import Platform

_POLL_SECONDS = 0.05
_READY_SECONDS = 60.0
_DEATHS_BEFORE_READY = 3  # at the first start, after which a dying child is reported as an error


def bring_up(platform: Platform) -> Mapping[str, Any] | None:
    """Migrate, start web and worker, wait until they are ready, and return the demo's facts.

    Raises SetupError if a process keeps failing, StopRequestedError at a wait after a signal.
    """
    tell, demo = platform.listener, platform.settings.demo
    arguments = ("neurant.runtime.prepare", *(("--demo",) if demo else ()))
    prepare = platform.spawn("prepare", *arguments, stdout=subprocess.PIPE)
    platform.preparing = prepare
    try:
        told = _Progress(prepare, platform)
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
        soon = time.monotonic() + 1.0
        end_children([prepare], [(signal.SIGTERM, soon), (signal.SIGKILL, soon)])
        platform.preparing = None


class _Progress:
    """Reads the lines of the preparing child and watches the other children meanwhile."""

    def __init__(self, process: subprocess.Popen[bytes], platform: Platform) -> None:
        assert process.stdout is not None  # noqa: S101 - it was asked for
        self._process, self._platform = process, platform
        self._pipe = process.stdout.fileno()
        os.set_blocking(self._pipe, False)
        self._unread = b""

    def wait_for(self, step: str) -> Mapping[str, Any]:
        """Wait for ``step`` and return its facts. Raises SetupError with the reason if it fails."""
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
                raise self._platform.failure("prepare")

    def _read(self) -> bool:
        """Wait briefly for output and read it; return False at its end."""
        stopping.pause(_POLL_SECONDS, self._pipe)
        try:
            more = os.read(self._pipe, 65536)
        except BlockingIOError:
            return True
        self._unread += more
        return bool(more)


def _wait_ready(platform: Platform) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while not _answers(platform.socket):
        _watch(platform)
        if time.monotonic() > deadline:
            raise SetupError("setup.web_not_ready", seconds=int(_READY_SECONDS))
        stopping.pause(_POLL_SECONDS)


def _watch(platform: Platform) -> None:
    platform.look_after()
    for child in platform.children:
        if child.deaths >= _DEATHS_BEFORE_READY:
            raise platform.failure(child.name)


def _answers(listener: socket.socket) -> bool:
    """Return whether the web process reports that it is ready.

    The request uses the address of the socket, because looking up a name may take long.
    """
    host, port, *_ = listener.getsockname()
    host = {"0.0.0.0": HOST, "::": "::1"}.get(host, host)  # noqa: S104
    connection = http.client.HTTPConnection(host, port, timeout=0.5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
