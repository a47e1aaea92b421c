"""Child processes that never outlive us, and telling a live process from a reused number."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from neurant.core import stopping

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_POLL_SECONDS = 0.02
_LEAST_PATIENCE = 0.5  # seconds that every signal gets to take effect
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds before a child that keeps dying runs again
_HEALTHY_SECONDS = 60.0  # alive this long, a child's earlier deaths are forgiven


def die_with_parent(signal_number: int) -> Callable[[], None] | None:
    """A ``preexec_fn`` that has the kernel send ``signal_number`` when this process dies.

    Linux only (prctl(2), PR_SET_PDEATHSIG); elsewhere None, and the next start stops leftovers.
    The kernel watches the *thread* that forks, so only the main thread may start such children.
    """
    if sys.platform != "linux":
        return None
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("a child that dies with its parent must be started by the main thread")
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def arm() -> None:
        prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return arm


def end_with_our_parent(signal_number: int) -> None:
    """Have the kernel send *us* this signal when the process that started us dies (Linux)."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal_number)


def live_process(pid: int) -> psutil.Process | None:
    """The process with this number, unless there is none or it is a zombie nobody has reaped."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except (psutil.NoSuchProcess, psutil.AccessDenied, ValueError, OverflowError):
        return None


def stop_process(process: psutil.Process, first: int, patience: float, last: int) -> None:
    """Send ``first``; if the process still lives after ``patience`` seconds, send ``last``.

    Raises StopRequestedError when a signal asks us to stop meanwhile.
    """
    for number in (first, last):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
        deadline = time.monotonic() + patience
        while live_process(process.pid) == process:  # a zombie is as good as gone
            if time.monotonic() > deadline:
                break
            stopping.pause(_POLL_SECONDS)
        else:
            return


def end_children(
    children: Sequence[subprocess.Popen[bytes]], endings: Sequence[tuple[int, float]]
) -> None:
    """End children of ours: each signal of ``endings``, then a wait until its moment.

    The moments are of ``time.monotonic``. A signal that hurries us cuts the waits short
    (``stopping.keep_waiting``). It is the clearing up, so a request to stop interrupts nothing.
    """
    for number, until in endings:
        living = [child for child in children if child.poll() is None]
        for child in living:
            child.send_signal(number)
        at_least = time.monotonic() + _LEAST_PATIENCE  # also when we are late
        while any(child.poll() is None for child in living):
            if time.monotonic() > at_least and not stopping.keep_waiting(until):
                break
            time.sleep(_POLL_SECONDS)
        else:
            return


def run_to_its_end(
    command: Sequence[str | os.PathLike[str]], statement: str = "", **options: Any
) -> tuple[int, str]:
    """Run a program; its status, and what it wrote on stdout and stderr together.

    It dies with us, and at once when a signal asks us to stop: then StopRequestedError. It runs in
    a session of its own, so that Ctrl-C of the terminal reaches it through us only.
    """
    in_main = threading.current_thread() is threading.main_thread()
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as told:
        told.write(statement.encode())
        told.seek(0)
        child = subprocess.Popen(
            command,
            stdin=told,
            stdout=said,
            stderr=said,
            start_new_session=True,
            preexec_fn=die_with_parent(signal.SIGKILL) if in_main else None,
            **options,
        )
        try:
            while child.poll() is None:
                stopping.pause(_POLL_SECONDS / 4)
            stopping.check()
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        said.seek(0)
        return child.returncode, said.read().decode("utf-8", "replace")


@dataclass
class Child:
    """A process that ought to be alive, and how patiently to revive it."""

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0
    started: float = 0.0
    not_before: float = 0.0

    def run(self) -> None:
        """Start it now."""
        self.process = self.start()
        self.started = time.monotonic()

    def look_after(self) -> str | None:
        """Notice a death or revive: "died", "started" or nothing new. Never waits."""
        now = time.monotonic()
        if self.process is not None:
            if self.process.poll() is None:
                return None
            self.deaths = 1 if now - self.started > _HEALTHY_SECONDS else self.deaths + 1
            self.process = None
            pause = _FIRST_PAUSE * 2.0 ** (self.deaths - 2) if self.deaths > 1 else 0.0
            self.not_before = now + min(_LONGEST_PAUSE, pause)
            return "died"
        if now < self.not_before:
            return None
        self.run()
        return "started"

    def postpone(self) -> None:
        """Starting it failed: wait longer than before."""
        self.deaths += 1
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (self.deaths - 1))
        self.not_before = time.monotonic() + pause
