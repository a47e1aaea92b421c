"""db/migrations.lock: the SHA-256 of every merged migration, so that none changes afterwards.

The form is sha256sum's: ``cd db/migrations && sha256sum -c ../migrations.lock`` checks it too.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from neurant.installation.migrate import MIGRATIONS

LOCK = MIGRATIONS.parent / "migrations.lock"


class ChangedMigration(Exception):
    """A migration in the lock differs or is gone. Says which, and what to do."""


def note_new_migrations(folder: Path = MIGRATIONS, lock: Path = LOCK) -> list[str]:
    """Append the migrations that the lock does not hold; their names. It never alters a line."""
    new = check_migrations(folder, lock)
    if new:
        lines = [f"{_digest(folder / name)}  {name}\n" for name in new]
        with lock.open("a", encoding="utf-8") as file:
            file.writelines(lines)
    return new


def check_migrations(folder: Path = MIGRATIONS, lock: Path = LOCK) -> list[str]:
    """The names of the migrations that the lock does not hold yet, in order.

    Raises ChangedMigration, naming each, when one that it holds is not what it was.
    """
    locked = read_lock(lock)
    present = {path.name for path in folder.glob("*.sql")}
    wrong = [
        f"{name} {'has changed' if name in present else 'is gone'}"
        for name, digest in locked.items()
        if name not in present or _digest(folder / name) != digest
    ]
    new = sorted(present - locked.keys())
    if wrong:
        raise ChangedMigration(
            "\n".join(wrong)
            + "\nA merged migration never changes: databases that have applied it would not get the"
            " change. Take the edit back and write a new migration. (One that is on no other"
            " branch yet: remove its line from db/migrations.lock and run `make schema` again.)"
        )
    return new


def read_lock(lock: Path = LOCK) -> dict[str, str]:
    """Digests by file name, in the order of the lock; empty where there is no lock yet."""
    lines = lock.read_text("utf-8").splitlines() if lock.exists() else []
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()
