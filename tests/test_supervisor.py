"""One command runs everything, keeps it running, and leaves nothing behind however it ends."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from neurant.core.errors import SetupError
from neurant.installation.embedded import connection_urls, ensure_detached, stop
from neurant.installation.processes import Child
from neurant.runtime.supervisor import is_up

# The web and worker of these tests: small, quick, and honest about who they are. PostgreSQL, the
# preparing child and the supervisor are the real ones.
STAND_IN = """
    import http.server, os, signal, socket, sys, time

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = f"{os.getpid()} {os.environ['NEURANT_APP_DATABASE_URL']}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    if sys.argv[1] == "web":
        server = http.server.HTTPServer(("127.0.0.1", 0), Answer, bind_and_activate=False)
        server.socket = socket.socket(fileno=int(sys.argv[2]))
        server.serve_forever()
    elif sys.argv[1] == "fails":
        sys.exit(3)
    else:
        time.sleep(600)
"""
DRIVER = """
    import sys
    from pathlib import Path
    from neurant.runtime import supervisor
    from neurant.cli.output import Teller
    from neurant.core.errors import SetupError
    from neurant.core.settings import Settings

    folder, port, web = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

    def start_web(self):
        number = self.socket.fileno()
        return self.spawn("web", "stand_in", web, str(number), pass_fds=(number,))

    supervisor.Platform.start_web = start_web
    supervisor.Platform.start_worker = lambda self: self.spawn("worker", "stand_in", "worker")
    settings = Settings(data_dir=folder, port=port)
    try:
        supervisor.up(settings, Teller(settings, "en"), demo=False)
    except SetupError as error:
        sys.exit(error.detail("en"))
"""


class Running:
    """A supervisor in a process of its own, and its data folder."""

    def __init__(self, folder: Path, port: int, web: str = "web") -> None:
        (folder / "stand_in.py").write_text(textwrap.dedent(STAND_IN))
        self.home, self.port = folder / "data", port
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(DRIVER), self.home, str(port), web],
            env={**os.environ, "PYTHONPATH": str(folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_ready(self) -> str:
        assert self.process.stdout
        said = ""
        for line in self.process.stdout:
            said += line
            if "is ready" in line:
                return said
        raise AssertionError(f"it ended: {said}")

    def get(self) -> tuple[int, str]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=20) as answer:
            pid, url = answer.read().decode().split()
            return int(pid), url

    def tree(self) -> list[psutil.Process]:
        me = psutil.Process(self.process.pid)
        return [me, *me.children(recursive=True)]

    def finish(self) -> str:
        said, _ = self.process.communicate(timeout=60)
        return said


Start = Callable[..., Running]


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    made: list[Running] = []

    def make(port: int, web: str = "web") -> Running:
        made.append(Running(folder, port, web))
        return made[-1]

    yield make
    for running in made:
        if running.process.poll() is None:
            running.process.terminate()
            running.finish()
    stop(folder / "data")


@pytest.fixture
def port() -> int:
    return free_port()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def named(running: Running, word: str) -> list[psutil.Process]:
    found = []
    for process in running.tree()[1:]:
        with contextlib.suppress(psutil.Error):  # ended while we looked
            if word in process.cmdline():
                found.append(process)
    return found


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_comes_up_migrated_and_a_signal_ends_everything(
    start: Start, port: int, ending: signal.Signals
) -> None:
    running = start(port)
    said = running.wait_ready()
    assert f"http://127.0.0.1:{port}" in said
    assert is_up(running.home)
    _, url = running.get()
    with psycopg.connect(url) as connection:
        assert connection.execute("select session_user").fetchone() == ("neurant_app",)
    tree = running.tree()
    assert len(tree) > 5
    running.process.send_signal(ending)
    running.finish()
    assert running.process.returncode == 0
    assert all(gone(process) for process in tree)
    assert not is_up(running.home)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends children only on Linux")
def test_killing_it_leaves_no_orphan_and_it_starts_again_at_once(start: Start, port: int) -> None:
    first = start(port)
    first.wait_ready()
    tree = first.tree()
    with psycopg.connect(connection_urls(first.home).admin) as connection:
        connection.execute("create table public.kept as select 'hola' as word")
    first.process.kill()
    second = start(port)
    second.wait_ready()
    assert all(gone(process) for process in tree)
    with psycopg.connect(connection_urls(second.home).admin) as connection:
        assert connection.execute("select word from public.kept").fetchall() == [("hola",)]


@pytest.mark.parametrize("part", ["web", "worker"])
def test_a_part_that_dies_is_started_again(start: Start, port: int, part: str) -> None:
    running = start(port)
    running.wait_ready()
    [victim] = named(running, part)
    victim.kill()
    wait_until(lambda: gone(victim))
    wait_until(lambda: bool(named(running, part)))
    assert running.get()[0] == named(running, "web")[0].pid


def test_a_request_waits_for_a_new_web_process_instead_of_being_refused(
    start: Start, port: int
) -> None:
    running = start(port)
    running.wait_ready()
    before, _ = running.get()
    psutil.Process(before).kill()
    assert running.get()[0] != before


def test_postgresql_that_dies_comes_back_on_the_same_address(start: Start, port: int) -> None:
    running = start(port)
    running.wait_ready()
    _, url = running.get()
    [server] = named(running, "-D")
    server.kill()

    def answers() -> bool:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    wait_until(lambda: gone(server) and answers())


def test_a_second_copy_on_one_folder_is_refused_in_one_line(start: Start, port: int) -> None:
    first = start(port)
    first.wait_ready()
    second = start(free_port())
    said = second.finish()
    assert second.process.returncode == 1
    assert (
        said == f"NeurAnt is already running on {first.home}. Stop it, or choose another"
        " folder with --data-dir.\n"
    )
    assert first.get()


def test_a_port_in_use_is_one_line_and_nothing_is_started(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = start(port)
        said = running.finish()
    assert said == f"Port {port} is already in use. Free it or choose another: --port {port + 1}\n"
    assert running.process.returncode == 1
    assert not (running.home / "postgres").exists()


def test_a_part_that_cannot_start_is_reported_and_everything_ends(start: Start, port: int) -> None:
    running = start(port, web="fails")
    said = running.finish()
    assert "The process “web” cannot start" in said
    assert "Traceback" not in said
    assert running.process.returncode == 1
    with pytest.raises(SetupError):
        connection_urls(running.home)


def test_it_takes_over_from_a_detached_server_and_db_url_finds_it(start: Start, port: int) -> None:
    running = start(port)
    url = ensure_detached(running.home)
    running.wait_ready()
    assert ensure_detached(running.home) == url
    assert running.get()


def test_children_written_down_by_a_killed_run_are_ended_where_the_kernel_did_not(
    start: Start, port: int, folder: Path
) -> None:
    left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        home = folder / "data"
        home.mkdir(mode=0o711)
        created = psutil.Process(left.pid).create_time()
        known = [[left.pid, created], [bystander.pid, created - 1000.0]]
        (home / "processes.json").write_text(json.dumps(known))
        start(port).wait_ready()
        assert left.wait(10) == -signal.SIGTERM
        assert bystander.poll() is None, "its number was reused: it is not ours to end"
    finally:
        for process in (left, bystander):
            process.kill()
            process.wait()


def test_a_child_that_keeps_dying_is_revived_ever_more_patiently() -> None:
    started: list[float] = []

    def die() -> subprocess.Popen[bytes]:
        started.append(time.monotonic())
        return subprocess.Popen([sys.executable, "-c", ""])

    child = Child("dies", die)
    child.run()
    wait_until(lambda: bool(child.look_after() and len(started) == 4))
    pauses = [later - earlier for earlier, later in itertools.pairwise(started)]
    assert pauses[1] > 0.5
    assert pauses[2] > 1.0


@pytest.mark.platform
def test_the_real_platform_with_its_sample_company_answers_a_visitor(folder: Path) -> None:
    port = free_port()
    neurant = [sys.executable, "-m", "neurant", "up", "--demo", "--port", str(port)]
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "NEURANT_DATA_DIR": str(folder / "data")}
    running = subprocess.Popen(
        neurant, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert running.stdout
        said = ""
        for line in running.stdout:
            said += line
            if "Ctrl-C" in line:
                break
        assert f"NeurAnt está listo: http://127.0.0.1:{port}" in said
        assert "Tres cosas que probar" in said
        chat = next(w for w in said.split() if "/chat/" in w)
        with urllib.request.urlopen(chat, timeout=20) as page:
            assert page.status == 200
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/none", timeout=20)
    finally:
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=60)
    assert running.returncode == 0
    assert errors == ""
