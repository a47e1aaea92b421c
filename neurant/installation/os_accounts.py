"""The system account that PostgreSQL runs as if root starts it, because it refuses to run as root.

Each cluster has an account of its own: a user id that no passwd entry and no process uses, derived
from the data folder. The account ``nobody`` is shared by many programs, each of which could read
the cluster's files. The server needs no passwd entry. ``initdb`` and the single-user mode need one
("could not look up effective user ID"), so they run as a system account that runs nothing else at
the moment, and their files are then given to the cluster's account.
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

# Below 65536, for containers that map no more ids; unused according to systemd's
# "Users, Groups, UIDs and GIDs on systemd Systems" (uapi-group.org), and to Debian's policy, 9.2.
_OWN = range(60706, 61184)
_SYSTEM = range(1, 1000)
_ITERATIONS = 4096  # PostgreSQL's default, scram_iterations


@dataclass(frozen=True)
class Account:
    """The system account that PostgreSQL runs as if that is not our own."""

    uid: int
    gid: int

    def run_as(self) -> dict[str, Any]:
        """Return the ``subprocess`` arguments that start a program as this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def account_of(data: Path) -> Account | None:
    """Return the account of the cluster in ``data``, or for a new one there; None: our own.

    Raises SetupError if the cluster belongs to another user, or root may not change accounts.
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
    """Return the account to which a new cluster is given: its own, else ``nobody``."""
    return own_account(folder) or _nobody()


def own_account(folder: Path) -> Account | None:
    """Return the account that a cluster of this data folder runs as; None if none is free.

    It is also None if the kernel does not map the user id, as in a container with few ids.
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
    """Return whether other programs may run as this account, which is then ``nobody``.

    A cluster with any other account was created by the owner of that account and stays theirs.
    """
    return account == _nobody()


def hand_over(data: Path, before: Account, after: Account) -> None:
    """Give everything in ``data`` that ``before`` owns to ``after``, the folder itself last.

    An interrupted run is repeated, because the folder changes its owner last. Symbolic links are
    not followed and files of other owners are skipped, because programs that share ``before`` may
    have put links there.
    """
    for _, folders, files, place in os.fwalk(data, topdown=False, follow_symlinks=False):
        for name in (*folders, *files):
            if os.stat(name, dir_fd=place, follow_symlinks=False).st_uid == before.uid:
                os.chown(name, after.uid, after.gid, dir_fd=place, follow_symlinks=False)
    os.chown(data, after.uid, after.gid, follow_symlinks=False)


def verifier_of(password: str) -> str:
    """Return the SCRAM-SHA-256 verifier of an ASCII password as PostgreSQL stores it (RFC 5803).

    With it, the account that creates the cluster never sees the password.
    """
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _ITERATIONS)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    told = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${_ITERATIONS}:{told[0]}${told[1]}:{told[2]}"


def _quiet_account() -> Account:
    """Return a system account that runs no process now, ``nobody`` if every one is busy."""
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
