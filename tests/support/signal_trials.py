"""The supervisor with cheap children, forked for each trial, and a signal at a random moment.

Run as a program: ``python signal_trials.py FOLDER SEED COUNT``. It prints one line of JSON for each
trial. The supervisor, its lock, its waits and its processes are the real ones; PostgreSQL and the
worker are ``sleep``, web is a few lines that answer HTTP, and what prepares is a shell that writes
the lines which the real one writes. So that a trial takes a tenth of a second.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from neurant.core import stopping
from neurant.core.settings import Settings
from neurant.installation.embedded import RunningServer, Urls
from neurant.installation.install import Cluster, Secrets, write_private
from neurant.installation.processes import die_with_parent, run_to_its_end
from neurant.runtime import bring_up, supervisor

ENDS_WITHIN = 15.0  # seconds
_SUBREAPER = 36  # linux/prctl.h, PR_SET_CHILD_SUBREAPER: orphans of a trial become our children
_NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
_WEB = (
    "import socket\n"
    "s = socket.socket(fileno={})\n"
    "while True:\n"
    "    c = s.accept()[0]\n"
    "    c.recv(999)\n"
    "    c.send(b'HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\n\\r\\n')\n"
    "    c.close()\n"
)


class Silent:
    """A listener that says when the platform is ready."""

    def __init__(self, ready: int) -> None:
        self._ready = ready

    @contextmanager
    def step(self, name: str, **facts: object) -> Iterator[None]:
        yield

    def note(self, name: str, **facts: object) -> None:
        pass

    def ready(self, address: str, demo: object) -> None:
        os.write(self._ready, b"ready")


def start_database(folder: Path, *, port: int | None = None) -> RunningServer:
    """As start_supervised: a short program (initdb), then a long one."""
    run_to_its_end(["/bin/sleep", "0.01"])
    process = spawn("/bin/sleep", "600", ending=signal.SIGINT)
    cluster = Cluster(folder, None, folder, moved=False)
    return RunningServer(process, cluster, port or 1, Urls("", "", ""))


def spawn(*command: str, ending: int = signal.SIGKILL, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=die_with_parent(ending),
        **options,
    )


def cheapen(worker: str) -> None:
    """Put the cheap children in the place of the real ones."""

    def start_web(self: supervisor.Platform) -> subprocess.Popen[bytes]:
        number = self.socket.fileno()
        code = _WEB.format(number)
        return spawn(sys.executable, "-ISc", code, pass_fds=(number,))

    def prepare(self: supervisor.Platform, *_: str, **options: Any) -> subprocess.Popen[bytes]:
        script = """sleep 0.01; echo '{"step": "migrated"}'; sleep 0.01"""
        return spawn("/bin/sh", "-c", script, **options)

    supervisor.start_supervised = start_database  # type: ignore[attr-defined,assignment]
    supervisor.Platform.start_web = start_web
    supervisor.Platform.start_worker = lambda self: spawn("/bin/sh", "-c", worker)
    supervisor.Platform.spawn = prepare
    bring_up._POLL_SECONDS = 0.01


def trial(folder: Path, chance: random.Random) -> dict[str, Any]:
    """One whole life of a supervisor; what was sent when, how it ended, what it left."""
    numbers = [chance.choice(_NUMBERS) for _ in range(chance.choice([1, 1, 1, 2, 3]))]
    delay, between = chance.uniform(0.0, 0.1), chance.choice([0.0, 0.001, 0.01, 0.05])
    in_the_loop = chance.random() < 0.4  # count from the moment at which it is ready
    # Most workers live; some die again and again, so that the loop is at reviving them.
    worker = chance.choice(["exec sleep 600"] * 4 + ["sleep 0.02; exit 3"])
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            cheapen(worker)
            settings = Settings(data_dir=folder, port=int(os.environ["TRIAL_PORT"]))
            supervisor.up(settings, Silent(writing), demo=False)
            status = 0
        except BaseException as error:
            print(json.dumps({"error": repr(error)}), flush=True)
        finally:
            os._exit(status)
    os.close(writing)
    if in_the_loop:
        select.select([reading], [], [], ENDS_WITHIN)
    time.sleep(delay)
    started = time.monotonic()
    for number in numbers:
        os.kill(pid, number)
        time.sleep(between)
    ended = wait_for(pid)
    took = time.monotonic() - started
    was_ready = bool(select.select([reading], [], [], 0)[0] and os.read(reading, 9))
    os.close(reading)
    return {
        "signals": [int(number) for number in numbers], "delay": delay, "between": between,
        "worker": worker, "status": ended, "took": took, "ready": was_ready, "left": left_over(),
    }  # fmt: skip


def wait_for(pid: int) -> int | None:
    """Its exit status; None, and killed, if it was still running after 15 seconds."""
    deadline = time.monotonic() + ENDS_WITHIN
    while time.monotonic() < deadline:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def left_over() -> list[list[str]]:
    """The processes of a trial that still run a second after its end; they are ended here."""
    deadline = time.monotonic() + 1.0
    while True:
        living = []
        for child in psutil.Process().children(recursive=True):
            try:
                if child.status() == psutil.STATUS_ZOMBIE:
                    os.waitpid(child.pid, os.WNOHANG)
                    continue
                living.append((child, child.cmdline()))
            except (psutil.NoSuchProcess, ChildProcessError):
                continue
        if not living or time.monotonic() > deadline:
            for child, _ in living:
                child.kill()
            return [command for _, command in living]
        time.sleep(0.002)


def main() -> None:
    folder, seed, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    chance = random.Random(seed)
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    stopping.let_sigint_end_us()  # as the command does; the trials inherit it
    folder.mkdir(exist_ok=True)
    made = Secrets("a", "b", "c", "d")
    write_private(folder / "secrets.json", json.dumps(vars(made)))
    for number in range(count):
        print(json.dumps({"trial": number, **trial(folder, chance)}), flush=True)


if __name__ == "__main__":
    main()
