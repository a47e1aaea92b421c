"""Started by root, PostgreSQL runs as an account that nobody else has, and its files are closed."""

from __future__ import annotations

import fcntl
import os
import pwd
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from neurant.core.errors import SetupError
from neurant.installation import embedded, install
from neurant.installation import os_accounts as accounts
from neurant.installation.embedded import connection_urls, ensure_detached, start_supervised, stop
from neurant.installation.os_accounts import Account, hand_over, own_account, verifier_of

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts it as another account")


@pytest.fixture
def home(folder: Path) -> Iterator[Path]:
    yield folder / "data"
    stop(folder / "data")


def owners(root: Path) -> set[int]:
    found = {root.stat().st_uid}
    for place, folders, files in os.walk(root):
        found |= {(Path(place) / name).lstat().st_uid for name in (*folders, *files)}
    return found


def may_read(uid: int, path: Path) -> bool:
    command = ["/bin/sh", "-c", f'find "{path}" -type f 2>/dev/null | xargs cat > /dev/null']
    done = subprocess.run(
        ["/bin/sh", "-c", 'cat "$1"', "sh", path] if path.is_file() else command,
        user=uid, group=uid, extra_groups=[], cwd="/", capture_output=True, check=False,
    )  # fmt: skip
    return done.returncode == 0 and not done.stderr


@as_root
def test_root_runs_it_as_an_account_of_its_own_that_has_no_passwd_entry(home: Path) -> None:
    running = start_supervised(home)
    [uid] = set(psutil.Process(running.process.pid).uids())
    assert uid in accounts._OWN
    with pytest.raises(KeyError):
        pwd.getpwuid(uid)
    assert owners(running.cluster.data) == {uid}
    with psycopg.connect(running.urls.admin) as db:
        db.execute("create table kept as select 'hola' as word")
    running.stop()
    again = start_supervised(home)
    assert psutil.Process(again.process.pid).uids().real == uid
    again.stop()


@as_root
def test_a_cluster_of_nobody_is_handed_over_at_the_next_start(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:  # as versions before did it
        before.setattr(embedded, "settle", lambda cluster, folder: cluster)
        nobody = pwd.getpwnam("nobody")
        chosen = Account(nobody.pw_uid, nobody.pw_gid)
        before.setattr(install, "final_account", lambda folder: chosen)
        running = start_supervised(home)
        with psycopg.connect(running.urls.admin) as db:
            db.execute("create table kept as select 'hola' as word")
        running.stop()
    assert owners(running.cluster.data) == {nobody.pw_uid}
    # Half done, as if the machine had stopped in the middle.
    own = own_account(home.resolve())
    assert own is not None
    for name in ("PG_VERSION", "base", "global"):
        os.chown(running.cluster.data / name, own.uid, own.gid)
    ensure_detached(home)
    with psycopg.connect(connection_urls(home).admin) as db:
        assert db.execute("select word from kept").fetchall() == [("hola",)]
    assert owners(running.cluster.data) == {own.uid}


@as_root
def test_handing_over_touches_nothing_beyond_the_cluster(folder: Path) -> None:
    nobody, after = pwd.getpwnam("nobody"), Account(60706, 60706)
    before = Account(nobody.pw_uid, nobody.pw_gid)
    data, outside = folder / "data", folder / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "file").write_text("theirs")
    (data / "base").mkdir(parents=True)
    for path in (data, data / "base", outside, outside / "deep", outside / "deep" / "file"):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    (data / "link").symlink_to(outside)
    (data / "base" / "link").symlink_to(outside / "deep" / "file")
    (data / "roots").write_text("root's")
    hand_over(data, before, after)
    assert data.stat().st_uid == (data / "base").stat().st_uid == after.uid
    assert owners(outside) == {nobody.pw_uid}
    assert (data / "roots").stat().st_uid == 0


@as_root
def test_where_no_account_of_its_own_can_be_had_a_warning_is_logged(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (accounts, install):
        monkeypatch.setattr(module, "own_account", lambda folder: None)
    running = start_supervised(home)
    assert running.cluster.is_shared
    with psycopg.connect(running.urls.admin) as db:
        assert db.execute("select 1").fetchone() == (1,)
    running.stop()


def test_the_verifier_lets_the_password_in_and_no_other(home: Path) -> None:
    running = start_supervised(home)
    with psycopg.connect(running.urls.admin, autocommit=True) as db:
        db.execute(f"create role somebody login password '{verifier_of('right')}'")
    psycopg.connect(running.urls.admin, user="somebody", password="right").close()
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(running.urls.admin, user="somebody", password="wrong")
    running.stop()


@as_root
def test_other_accounts_read_no_file_and_open_no_lock(home: Path) -> None:
    running = start_supervised(home)
    with install.locked(home / "neurant.lock", wait=False):
        pass
    strangers = {pwd.getpwnam("nobody").pw_uid, pwd.getpwnam("daemon").pw_uid}
    root = running.cluster.root
    closed = [*home.glob("*.lock"), home / "secrets.json", root / "log"]
    assert len(closed) >= 4
    for path in (*closed, running.cluster.data / "postgresql.conf"):
        assert not any(may_read(uid, path) for uid in strangers), path
    for path in closed:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for path in (home, root):
        assert stat.S_IMODE(path.stat().st_mode) == 0o711, path
    assert stat.S_IMODE(running.cluster.data.stat().st_mode) == 0o700
    running.stop()


def test_a_lock_of_an_earlier_version_is_closed(folder: Path) -> None:
    path = folder / "postgres.lock"
    path.touch()
    path.chmod(0o644)
    with install.locked(path, wait=False):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_lock_that_stays_held_is_one_clear_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "_LOCK_SECONDS", 0.3)
    path = folder / "postgres.lock"
    with path.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        started = time.monotonic()
        with (
            pytest.raises(SetupError, match="Another start is still in progress"),
            install.locked(path, wait=True),
        ):
            pass
        assert time.monotonic() - started < 5
