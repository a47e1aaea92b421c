"""Which system account PostgreSQL runs as, where it is started by root (it refuses to be root).

Each cluster has an account of its own: a number that no passwd entry and no process has, chosen by
the data folder. ``nobody`` is shared by every program that gives up its rights, and whoever is
``nobody`` could read the cluster's files. The server needs no passwd entry; ``initdb`` and the
single-user mode do ("could not look up effective user ID"), so they run as a system account that
runs nothing else at the moment, and what they made is handed over.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import pwd
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from neurant.core.errors import SetupError
from neurant.installation.processes import run_to_its_end

# Below 65536, for containers that map no more; of no use to anybody according to systemd's
# "Users, Groups, UIDs and GIDs on systemd Systems" (uapi-group.org), nor to Debian's policy, 9.2.
_OWN = range(60706, 61184)
_SYSTEM = range(1, 1000)
_ITERATIONS = 4096  # PostgreSQL's default, scram_iterations


@dataclass(frozen=True)
class Account:
    """The system account that PostgreSQL runs as, where it is not our own."""

    uid: int
    gid: int

    def run_as(self) -> dict[str, Any]:
        """Arguments of ``subprocess`` that start a program as this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def account_of(data: Path) -> Account | None:
    """The account of the cluster in ``data``, or for making one there; None: our own.

    Raises SetupError where the cluster is another user's, or root may not change accounts.
    """
    if os.geteuid() != 0:
        if data.exists() and data.stat().st_uid != os.geteuid():
            raise SetupError("setup.folder_of_another_user", folder=data)
        return None
    if data.exists() and data.stat().st_uid != 0:
        found = data.stat()
        return Account(found.st_uid, found.st_gid)
    return _quiet_account()


def final_account(folder: Path) -> Account:
    """Whom a new cluster is handed over to: an account of its own, else ``nobody``."""
    return own_account(folder) or _nobody()


def own_account(folder: Path) -> Account | None:
    """The account that a cluster of this data folder runs as, once it is made; None: none is free.

    None also where the kernel knows no such number (a container that maps few).
    """
    busy = {uid for process in _processes() for uid in process}
    first = int.from_bytes(hashlib.sha256(os.fsencode(folder)).digest()[:8])
    for step in range(len(_OWN)):
        uid = _OWN[(first + step) % len(_OWN)]
        if uid not in busy and not _is_known(uid):
            account = Account(uid, uid)
            try:
                status, _ = run_to_its_end(["/bin/true"], cwd="/", **account.run_as())
            except OSError:
                return None
            return account if status == 0 else None
    return None


def is_shared(account: Account) -> bool:
    """Whether any program may run as this account: it is ``nobody``.

    A cluster of another account was made by whoever has that account, and stays theirs.
    """
    return account == _nobody()


def hand_over(data: Path, before: Account, after: Account) -> None:
    """Give everything in ``data`` that is ``before``'s to ``after``; the folder itself last.

    Interrupted, it is done again: the folder says whose the cluster is. Never through a symbolic
    link, and never what is somebody else's: as ``before`` others may have put links there.
    """
    for _, folders, files, place in os.fwalk(data, topdown=False, follow_symlinks=False):
        for name in (*folders, *files):
            if os.stat(name, dir_fd=place, follow_symlinks=False).st_uid == before.uid:
                os.chown(name, after.uid, after.gid, dir_fd=place, follow_symlinks=False)
    os.chown(data, after.uid, after.gid, follow_symlinks=False)


def verifier_of(password: str) -> str:
    """The SCRAM-SHA-256 verifier of a password of ASCII, as PostgreSQL stores it (RFC 5803).

    So that the account that makes the cluster never sees the password.
    """
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    told = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{told[0]}${told[1]}:{told[2]}"


def _quiet_account() -> Account:
    """A system account that runs nothing now; ``nobody`` where every one is busy."""
    busy = {uid for process in _processes() for uid in process}
    known = [entry for entry in pwd.getpwall() if entry.pw_uid in _SYSTEM]
    candidates = (_nobody(), *(Account(entry.pw_uid, entry.pw_gid) for entry in known))
    return next((one for one in candidates if one.uid not in busy), _nobody())


def _nobody() -> Account:
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as error:
        raise SetupError("setup.no_account") from error
    return Account(entry.pw_uid, entry.pw_gid)


def _is_known(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _processes() -> Iterator[tuple[int, ...]]:
    for process in psutil.process_iter(["uids"]):
        if process.info["uids"]:
            yield tuple(process.info["uids"])
