"""The embedded server: starts anywhere it can, stops with us, and survives what happens to it."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from neurant.core.errors import SetupError
from neurant.installation import embedded, install
from neurant.installation.embedded import connection_urls, ensure_detached, start_supervised, stop

SOMEBODY = pwd.getpwnam("daemon").pw_uid  # an ordinary user that every system has
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def home(folder: Path) -> Iterator[Path]:
    """A data folder whose server, if any is left, ends with the test."""
    yield folder / "data"
    stop(folder / "data")


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def postmaster(data_dir: Path) -> psutil.Process:
    found = embedded._running(install.find_cluster_root(data_dir))
    assert found is not None
    return found.process


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def write_row(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("create table if not exists kept (word text)")
        connection.execute("insert into kept values ('hola')")


def read_rows(url: str) -> list[tuple[str, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute("select word from kept").fetchall()


def run_python(code: str, *args: object, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


SUPERVISE = """
    import sys, time
    from pathlib import Path
    from neurant.installation.embedded import start_supervised
    print(start_supervised(Path(sys.argv[1])).process.pid, flush=True)
    time.sleep(600)
"""


def test_a_new_server_has_utf8_checksums_scram_and_pgvector(home: Path) -> None:
    running = start_supervised(home)
    with psycopg.connect(running.urls.admin) as connection:
        facts = connection.execute(
            "select current_setting('server_encoding'), current_setting('data_checksums'),"
            " current_setting('password_encryption'), current_setting('fsync'),"
            " (select datlocprovider::text || datlocale from pg_database"
            "  where datname = current_database()), lower('ÁÑ')"
        ).fetchone()
        assert facts == ("UTF8", "on", "scram-sha-256", "on", "bC.UTF-8", "áñ")
        connection.execute("create extension vector")
    running.stop()


def test_it_refuses_a_wrong_password_and_listens_on_loopback_only(home: Path) -> None:
    running = start_supervised(home)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(running.urls.admin, password="wrong")
    listening = {
        c.laddr.ip for c in running_connections(running.process.pid) if c.status == "LISTEN"
    }
    assert listening == {"127.0.0.1"}
    running.stop()


def running_connections(pid: int) -> list[Any]:
    return psutil.Process(pid).net_connections()


def test_stopping_and_starting_keeps_rows_port_and_passwords(home: Path) -> None:
    first = start_supervised(home)
    write_row(first.urls.admin)
    first.stop()
    again = start_supervised(home)
    assert again.urls == first.urls
    assert read_rows(again.urls.admin) == [("hola",)]
    again.stop()


def test_secrets_are_readable_by_their_owner_only(home: Path) -> None:
    ensure_detached(home)
    assert (home / "secrets.json").stat().st_mode & 0o077 == 0
    root = install.find_cluster_root(home)
    assert (root / "log").stat().st_mode & 0o077 == 0
    assert not (root / "password.new").exists()


def test_a_detached_server_is_shared_and_ends_on_request(home: Path) -> None:
    urls = ensure_detached(home)
    pid = postmaster(home).pid
    assert ensure_detached(home) == urls == connection_urls(home)
    assert postmaster(home).pid == pid
    assert stop(home) is True
    assert stop(home) is False
    with pytest.raises(SetupError, match="No platform is running"):
        connection_urls(home)


def test_a_supervised_start_takes_over_from_a_detached_server(home: Path) -> None:
    urls = ensure_detached(home)
    write_row(urls.admin)
    left = postmaster(home)
    running = start_supervised(home)
    assert gone(left)
    assert read_rows(running.urls.admin) == [("hola",)]
    running.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends children only on Linux")
def test_killing_the_parent_leaves_no_orphan_and_loses_nothing(home: Path) -> None:
    parent = run_python(SUPERVISE, home)
    assert parent.stdout
    server = psutil.Process(int(parent.stdout.readline()))
    write_row(connection_urls(home).admin)
    parent.kill()
    parent.communicate()
    wait_until(lambda: gone(server))
    assert read_rows(ensure_detached(home).admin) == [("hola",)]


def test_a_killed_server_starts_again_with_everything_committed(home: Path) -> None:
    urls = ensure_detached(home)
    write_row(urls.admin)
    killed = postmaster(home)
    killed.kill()
    assert read_rows(ensure_detached(home).admin) == [("hola",)]
    assert postmaster(home).pid != killed.pid


def test_a_pid_file_whose_number_now_belongs_to_another_process_is_ignored(home: Path) -> None:
    ensure_detached(home)
    stop(home)
    pid_file = install.find_cluster_root(home) / "data" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{pid_file.parent}\n1\n5432\n\n127.0.0.1\n\nready\n")
    assert stop(home) is False, "this very process is not a server"
    pid_file.write_text(f"{os.getppid()}\n{pid_file.parent}\n1\n5432\n\n127.0.0.1\n\nready\n")
    ensure_detached(home)


def test_a_first_start_that_was_killed_midway_is_done_again(home: Path) -> None:
    half = home / "postgres" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    for path in (home, half.parent):
        path.chmod(0o711)
    write_row(ensure_detached(home).admin)
    assert not half.exists()


def test_a_taken_port_is_replaced_by_a_free_one(home: Path) -> None:
    first = start_supervised(home)
    write_row(first.urls.admin)
    first.stop()
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", first.port))
        thief.listen()
        second = start_supervised(home)
        assert second.port != first.port
        assert read_rows(second.urls.admin) == [("hola",)]
        second.stop()


def test_two_starts_at_once_make_one_server(home: Path) -> None:
    code = """
        import sys
        from pathlib import Path
        from neurant.installation.embedded import ensure_detached
        print(ensure_detached(Path(sys.argv[1])).admin)
    """
    both = [run_python(code, home) for _ in range(2)]
    said = {process.communicate(timeout=60)[0] for process in both}
    assert said == {connection_urls(home).admin + "\n"}


def test_lost_secrets_are_reported_and_the_data_left_alone(home: Path) -> None:
    ensure_detached(home)
    stop(home)
    kept = (home / "secrets.json").read_text()
    (home / "secrets.json").unlink()
    with pytest.raises(SetupError, match=r"secrets\.json is missing"):
        ensure_detached(home)
    (home / "secrets.json").write_text("{")
    with pytest.raises(SetupError, match="damaged"):
        ensure_detached(home)
    (home / "secrets.json").write_text(kept)
    ensure_detached(home)


def test_a_file_in_place_of_the_folder_is_one_clear_line(folder: Path) -> None:
    (folder / "data").write_text("not a folder")
    with pytest.raises(SetupError, match="cannot write to the folder"):
        ensure_detached(folder / "data")
    with pytest.raises(SetupError, match="cannot write to the folder"):
        ensure_detached(folder / "data" / "deeper")


def test_a_full_disk_is_one_clear_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "_NEEDED_BYTES", 1 << 62)
    with pytest.raises(SetupError, match="no space left"):
        ensure_detached(home)
    monkeypatch.undo()
    ensure_detached(home)


@as_root
def test_a_disk_that_fills_up_is_one_clear_line(
    home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = folder / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m,mode=711", "tmpfs", small], check=False
    )
    if mounted.returncode != 0:
        pytest.skip("no right to mount a small disk here")
    monkeypatch.setattr(install, "_NEEDED_BYTES", 0)
    try:
        with pytest.raises(SetupError, match="no space left"):
            ensure_detached(small)
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_server_that_cannot_start_says_why(home: Path) -> None:
    with pytest.raises(SetupError, match=r"could not start.*shared_buffers"):
        start_supervised(home, {"shared_buffers": "nonsense"})


def test_its_log_does_not_grow_for_ever(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_detached(home)
    stop(home)
    log = install.find_cluster_root(home) / "log"
    monkeypatch.setattr(embedded, "_BIG_LOG", 10)
    before = log.read_text()
    ensure_detached(home)
    assert log.with_name("log.old").read_text() == before


@as_root
def test_a_folder_closed_to_others_moves_the_cluster_and_says_where(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "SYSTEM_FOLDER", folder / "system")
    (folder / "closed").mkdir(mode=0o700)
    home = folder / "closed" / "data"
    running = start_supervised(home)
    assert running.cluster.moved
    assert running.cluster.root.parent == folder / "system"
    write_row(running.urls.admin)
    running.stop()
    assert read_rows(ensure_detached(home).admin) == [("hola",)]
    stop(home)
    running.cluster.root.rename(folder / "elsewhere")
    with pytest.raises(SetupError, match="that folder no longer exists"):
        ensure_detached(home)


@as_root
def test_programs_that_the_account_cannot_run_are_copied(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "_runs", lambda program, account: False)
    running = start_supervised(home)
    assert running.cluster.programs.is_relative_to(home)
    write_row(running.urls.admin)
    running.stop()


@as_root
def test_root_runs_a_cluster_of_an_ordinary_user_as_that_user(home: Path) -> None:
    home.mkdir(parents=True)
    os.chown(home, SOMEBODY, SOMEBODY)
    install_as(SOMEBODY, home)
    running = start_supervised(home)
    assert psutil.Process(running.process.pid).uids().real == SOMEBODY
    assert read_rows(running.urls.admin) == [("hola",)]
    running.stop()


def become(uid: int, work: Callable[[], object]) -> int:
    """Do ``work`` in a child as another user (whose own Python may be closed to it)."""
    child = os.fork()
    if child == 0:
        status = 99
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            work()
            status = 0
        except SetupError as error:
            print(error, file=sys.stderr)
            status = 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def install_as(uid: int, home: Path) -> None:
    def work() -> None:
        write_row(ensure_detached(home).admin)
        stop(home)

    assert become(uid, work) == 0


@as_root
def test_an_ordinary_user_needs_nothing_special(folder: Path) -> None:
    os.chown(folder, SOMEBODY, SOMEBODY)
    install_as(SOMEBODY, folder / "data")
    assert (folder / "data").stat().st_mode & 0o777 == 0o700


@as_root
def test_a_folder_of_somebody_else_or_read_only_is_one_clear_line(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "data").mkdir(mode=0o755)
    for home in (folder / "data", folder / "data" / "new"):
        assert become(SOMEBODY, partial(ensure_detached, home)) == 1
        assert "cannot write to the folder" in capfd.readouterr().err


def test_a_supervised_child_must_come_from_the_main_thread(home: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("the kernel ends children only on Linux")
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError, match="main thread"):
        pool.submit(start_supervised, home).result()


def test_stopping_is_quick_even_with_a_busy_connection(home: Path) -> None:
    running = start_supervised(home)
    with psycopg.connect(running.urls.admin) as busy:
        started = time.monotonic()
        running.stop()
        assert time.monotonic() - started < 5
        with pytest.raises(psycopg.OperationalError):
            busy.execute("select 1")
    assert running.process.returncode == 0
