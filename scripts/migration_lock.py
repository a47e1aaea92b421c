"""db/migrations.lock: the SHA-256 of every released migration, so that a change of one is detected.

The lock is empty until the first release: until then ``make schema`` assembles the baseline anew.
``make lock-migrations`` adds the new migrations before a version is tagged. The format is
sha256sum's.
"""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path

from neurant.installation.migrate import MIGRATIONS

LOCK = Path(__file__).resolve().parents[1] / "db" / "migrations.lock"


class ChangedMigration(Exception):
    """A migration in the lock differs or is missing. The text names it and says what to do."""


def lock_migrations(folder: Path = MIGRATIONS, lock: Path = LOCK) -> list[str]:
    """Append the migrations that the lock lacks and return their names. No line is altered."""
    new = check_migrations(folder, lock)
    if new:
        lines = [f"{_digest(folder / name)}  {name}\n" for name in new]
        with lock.open("a", encoding="utf-8") as file:
            file.writelines(lines)
    return new


def check_migrations(folder: Path = MIGRATIONS, lock: Path = LOCK) -> list[str]:
    """Return the names of the migrations that are not released yet, in order.

    Raises ChangedMigration, naming each, when a released one has changed.
    """
    locked = read_lock(lock)
    present = {path.name for path in folder.glob("*.sql")}
    wrong = [
        f"{name} {'has changed' if name in present else 'is gone'}"
        for name, digest in locked.items()
        if name not in present or _digest(folder / name) != digest
    ]
    if wrong:
        raise ChangedMigration(
            "\n".join(wrong)
            + "\nA released migration never changes: databases that have applied it would not get"
            " the change. Take the edit back and write a new migration."
        )
    return sorted(present - locked.keys())


def read_lock(lock: Path = LOCK) -> dict[str, str]:
    """Return the digests by file name, in the order of the lock; empty before the first release."""
    lines = lock.read_text("utf-8").splitlines() if lock.exists() else []
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def _digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


def main() -> int:
    """Lock every migration as released.

    Returns 1, with instructions, if a released migration has changed.
    """
    try:
        for name in lock_migrations():
            print(f"db/migrations.lock: {name}")
    except ChangedMigration as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
