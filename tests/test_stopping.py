"""A signal ends ``neurant up`` within 15 seconds, whatever it is doing, and nothing is left."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from neurant.installation.install import locked
from tests.support.signal_trials import ENDS_WITHIN

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="who is left over is asked of the Linux kernel"
)
TRIALS = Path(__file__).parent / "support" / "signal_trials.py"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_trials(folder: Path, seed: int, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", TRIALS, folder / f"data-{seed}", str(seed), str(count)],
        env={**os.environ, "TRIAL_PORT": str(free_port())},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_thousand_signals_at_random_moments_each_end_the_supervisor(folder: Path) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print("seed:", seed)  # pytest shows it when the test fails
    runs = [run_trials(folder, seed + number, 500) for number in range(2)]
    said = [line for run in runs for line in run.communicate(timeout=600)[0].splitlines()]
    trials = [json.loads(line) for line in said]
    assert [one for one in trials if "error" in one] == []
    assert len(trials) == 1000
    assert [one for one in trials if one["status"] is None or one["took"] > ENDS_WITHIN] == []
    assert [one for one in trials if one["left"]] == []
    # Signals came while it came up, and in the loop.
    assert sum(one["ready"] for one in trials) > 100
    assert sum(not one["ready"] for one in trials) > 100


def python(code: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def test_a_pause_ends_the_moment_a_signal_comes_and_later_ones_interrupt_nothing() -> None:
    code = """
        import os, signal, threading, time
        from neurant.core import stopping
        with stopping.stop_signals():
            threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGHUP)).start()
            began = time.monotonic()
            try:
                stopping.pause(30)
            except stopping.StopRequestedError as asked:
                print(asked.number, time.monotonic() - began < 5)
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.2)
            print("cleared up")
        os.kill(os.getpid(), signal.SIGTERM)
        print("ended by itself")
    """
    process = python(code)
    said, _ = process.communicate(timeout=60)
    assert said == f"{signal.SIGHUP} True\ncleared up\nended by itself\n"
    assert process.returncode == 0


def test_a_byte_that_a_child_wrote_into_the_shared_pipe_is_no_request() -> None:
    code = """
        import os, signal, time
        from neurant.core import stopping
        with stopping.stop_signals():
            child = os.fork()
            if child == 0:  # as between fork and exec: the handlers and the pipe are still ours
                os.kill(os.getpid(), signal.SIGTERM)
                os._exit(0)
            os.waitpid(child, 0)
            began = time.monotonic()
            stopping.pause(0.3)
            print(stopping.is_requested(), time.monotonic() - began >= 0.3)
    """
    assert python(code).communicate(timeout=60)[0] == "False True\n"


def test_nohup_is_respected() -> None:
    code = """
        import os, signal
        from neurant.core import stopping
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with stopping.stop_signals():
            os.kill(os.getpid(), signal.SIGHUP)
            stopping.pause(0.1)
            print("goes on")
    """
    assert python(code).communicate(timeout=60)[0] == "goes on\n"


STUBBORN = """
    import signal, subprocess, sys, time
    from neurant.core import stopping
    from neurant.installation.processes import end_children
    ignores = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    child = subprocess.Popen(
        [sys.executable, "-c", ignores + "; time.sleep(60)"], stdout=subprocess.PIPE
    )
    child.stdout.readline()
    with stopping.stop_signals(child.kill):
        print("ready", flush=True)
        try:
            stopping.pause(60)
        except stopping.StopRequestedError:
            {clear_up}
    print(child.wait(), flush=True)
"""


def stubborn(clear_up: str) -> subprocess.Popen[str]:
    process = python(STUBBORN.format(clear_up=clear_up))
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    return process


CLEAR_UP = "end_children([child], [(signal.SIGTERM, time.monotonic() + 30), (signal.SIGKILL, 0.0)])"


def test_signals_that_go_on_coming_have_a_stubborn_child_killed_at_once() -> None:
    process = stubborn(CLEAR_UP)
    started = time.monotonic()
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.7)  # a person presses Ctrl-C again
    said, _ = process.communicate(timeout=60)
    assert time.monotonic() - started < 10
    assert said == f"{-signal.SIGKILL}\n"


def test_the_signals_of_a_closing_terminal_do_not_hurry_it() -> None:
    clear_up = CLEAR_UP.replace("+ 30", "+ 3")
    process = stubborn(clear_up)
    started = time.monotonic()
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        process.send_signal(number)
    process.communicate(timeout=60)
    assert time.monotonic() - started >= 3


def test_the_last_resort_kills_where_the_clearing_up_hangs() -> None:
    # The write blocks: nobody reads the pipe, as in a terminal that Ctrl-S has stopped.
    process = stubborn("import os; pipe = os.pipe(); os.write(pipe[1], bytes(10_000_000))")
    [child] = psutil.Process(process.pid).children()
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 1
    assert time.monotonic() - started < ENDS_WITHIN
    wait_until(lambda: gone(child))


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_worker_whose_event_loop_hangs_ends_all_the_same(number: signal.Signals) -> None:
    code = """
        import asyncio, sys, time
        from neurant.core import stopping
        from neurant.runtime import worker
        worker._LAST_SECONDS = 1.0
        async def work(settings, stop):
            print("ready", flush=True)
            await stop.wait()
            time.sleep(600)
        worker.work = work
        worker.ready_to_start = lambda settings, url: settings
        from neurant.core.settings import Settings
        url = "postgresql://neurant_jobs@127.0.0.1:1/none"
        asyncio.run(worker.run_worker(Settings(jobs_database_url=url)))
    """
    process = python(code)
    assert process.stdout
    assert "ready" in process.stdout.readline()
    process.send_signal(number)
    assert process.wait(timeout=30) == -signal.SIGALRM


def test_a_lock_that_another_process_holds_is_waited_for_until_a_signal(folder: Path) -> None:
    code = """
        import os, signal, sys, threading
        from pathlib import Path
        from neurant.core import stopping
        from neurant.installation.install import locked
        with stopping.stop_signals():
            threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
            try:
                with locked(Path(sys.argv[1]), wait=True):
                    print("taken")
            except stopping.StopRequestedError:
                print("stopped")
    """
    with locked(folder / "lock", wait=True):
        assert python(code, folder / "lock").communicate(timeout=60)[0] == "stopped\n"


def test_a_program_that_runs_for_us_ends_with_a_signal_or_with_our_death(folder: Path) -> None:
    code = """
        from neurant.core import stopping
        from neurant.installation.processes import run_to_its_end
        with stopping.stop_signals():
            print("ready", flush=True)
            try:
                run_to_its_end(["/bin/sleep", "600"])
            except stopping.StopRequestedError:
                print("stopped")
    """
    for number, said in ((signal.SIGTERM, "stopped\n"), (signal.SIGKILL, "")):
        process = python(code)
        assert process.stdout
        process.stdout.readline()
        parent = psutil.Process(process.pid)
        wait_until(lambda parent=parent: bool(parent.children()))
        [child] = parent.children()
        process.send_signal(number)
        assert process.communicate(timeout=60)[0] == said
        wait_until(lambda child=child: gone(child))


def of_folder(home: Path) -> list[psutil.Process]:
    """Every process that was started for this data folder, also PostgreSQL's own."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("NEURANT_DATA_DIR") == str(home) and not gone(process):
                found.append(process)
    return found


def begin(home: Path, port: int, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "neurant", "up", "--port", str(port)],
            env={**os.environ, "LC_ALL": "C.UTF-8", "NEURANT_DATA_DIR": str(home)},
            stdout=out,
            stderr=out,
        )


@pytest.mark.soak
def test_sixty_whole_runs_end_within_fifteen_seconds_and_the_folder_starts_again(
    folder: Path,
) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print("seed:", seed)
    chance = random.Random(seed)
    port, homes = free_port(), 0
    took = []
    for number in range(60):
        if number % 6 == 0:  # a new folder: the signal also meets initdb and the migrations
            homes += 1
        home = folder / f"data-{homes}"
        process = begin(home, port, folder / "log")
        time.sleep(chance.uniform(0.0, 10.0))
        started = time.monotonic()
        process.send_signal(chance.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP]))
        process.wait(timeout=60)
        took.append(time.monotonic() - started)
        wait_until(lambda home=home: not of_folder(home), 2)
    print("longest:", max(took))
    assert max(took) <= ENDS_WITHIN
    for number in range(1, homes + 1):
        process = begin(folder / f"data-{number}", port, folder / "log")
        wait_until(lambda: "Ctrl-C" in (folder / "log").read_text(), 60)
        process.terminate()
        assert process.wait(timeout=60) == 0
