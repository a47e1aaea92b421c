"""Child processes that end with us, and the detection of live processes by their number."""

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
_LEAST_PATIENCE = 0.5  # seconds that every signal has to take effect
_FIRST_PAUSE, _MAX_PAUSE_SECONDS = 0.5, 30.0  # seconds before a failing child is restarted
_HEALTHY_SECONDS = 60.0  # after this time alive, the count of deaths restarts


def die_with_parent(signal_number: int) -> Callable[[], None] | None:
    """Return a ``preexec_fn`` with which the kernel signals the child when we die.

    Linux only (prctl(2), PR_SET_PDEATHSIG). On other systems it is None, and the next start stops
    leftover processes. The kernel watches the *thread* that forks, so only the main thread may
    start such children.
    """
    if sys.platform != "linux":
        return None
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("a child that dies with its parent must be started by the main thread")
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def arm() -> None:
        prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the call to prctl
            os._exit(1)

    return arm


def end_with_our_parent(signal_number: int) -> None:
    """Have the kernel signal *us* when the process that started us dies (Linux only)."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal_number)


def live_process(pid: int) -> psutil.Process | None:
    """Return the process with this number; None if there is none or it is a zombie."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except (psutil.NoSuchProcess, psutil.AccessDenied, ValueError, OverflowError):
        return None


def stop_process(process: psutil.Process, first: int, patience: float, last: int) -> None:
    """Send ``first``; if the process still lives after ``patience`` seconds, send ``last``.

    Raises StopRequestedError if a signal asks us to stop meanwhile.
    """
    for number in (first, last):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
        deadline = time.monotonic() + patience
        while live_process(process.pid) == process:  # a zombie counts as ended
            if time.monotonic() > deadline:
                break
            stopping.pause(_POLL_SECONDS)
        else:
            return


def end_children(
    children: Sequence[subprocess.Popen[bytes]], endings: Sequence[tuple[int, float]]
) -> None:
    """End our children: send each signal of ``endings``, then wait until its time.

    The times are of ``time.monotonic``. A second signal to us ends the waits early
    (``stopping.keep_waiting``). A request to stop does not interrupt this function, because it is
    part of stopping.
    """
    for number, until in endings:
        living = [child for child in children if child.poll() is None]
        for child in living:
            child.send_signal(number)
        at_least = time.monotonic() + _LEAST_PATIENCE  # also if ``until`` has already passed
        while any(child.poll() is None for child in living):
            if time.monotonic() > at_least and not stopping.keep_waiting(until):
                break
            time.sleep(_POLL_SECONDS)
        else:
            return


def run_to_its_end(
    command: Sequence[str | os.PathLike[str]], statement: str = "", **options: Any
) -> tuple[int, str]:
    """Run a program; return its status and its output (stdout and stderr together).

    The program ends with us, and at once when a signal asks us to stop; then StopRequestedError is
    raised. It runs in a session of its own, so that the terminal's Ctrl-C reaches only us.
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
    """A process that should be alive, with the state of its restarts."""

    name: str
    start: Callable[[], subprocess.Popen[bytes]]
    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0
    started: float = 0.0
    not_before: float = 0.0

    def run(self) -> None:
        """Start the process now."""
        self.process = self.start()
        self.started = time.monotonic()

    def look_after(self) -> str | None:
        """Detect a death or restart the process; return "died", "started" or None. Never waits."""
        now = time.monotonic()
        if self.process is not None:
            if self.process.poll() is None:
                return None
            self.deaths = 1 if now - self.started > _HEALTHY_SECONDS else self.deaths + 1
            self.process = None
            pause = _FIRST_PAUSE * 2.0 ** (self.deaths - 2) if self.deaths > 1 else 0.0
            self.not_before = now + min(_MAX_PAUSE_SECONDS, pause)
            return "died"
        if now < self.not_before:
            return None
        self.run()
        return "started"

    def postpone(self) -> None:
        """Wait longer than before until the next start, because this one failed."""
        self.deaths += 1
        pause = min(_MAX_PAUSE_SECONDS, _FIRST_PAUSE * 2.0 ** (self.deaths - 1))
        self.not_before = time.monotonic() + pause
