"""Assemble the baseline migration from the schema files.

``db/schema/*.sql`` is the schema as people read and edit it. Installations run
``neurant/installation/migrations/``, which the wheel carries. Until the first release the baseline
there is assembled anew from the schema files. A released baseline never changes: from then on a
change is an edit of the schema files and a new migration (db/CONVENTIONS.md).
"""

from __future__ import annotations

from pathlib import Path

from neurant.installation.migrate import MIGRATIONS
from scripts.migration_lock import LOCK, check_migrations, read_lock

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = ROOT / "db" / "schema"
BASELINE = "20261201000000_baseline.sql"
# Functions may precede the tables that their bodies name, so each file can keep to its subject.
_HEAD = """\
-- migrate:up
-- The whole schema, assembled by `make schema` from db/schema/*.sql: read and edit those files.
set local check_function_bodies = off;
"""
_FOOT = "\n-- migrate:down\n"


class UnfoldedMigration(Exception):
    """There is another migration although the baseline is not released.

    The text says what to do.
    """


def assembled(schema: Path = SCHEMA) -> str:
    """Return the baseline migration: every schema file, in the order of the file names."""
    parts = [
        f"\n-- {path.name} {'-' * (95 - len(path.name))}\n{path.read_text('utf-8')}"
        for path in sorted(schema.glob("*.sql"))
    ]
    return _HEAD + "".join(parts) + _FOOT


def assemble_baseline(
    schema: Path = SCHEMA, migrations: Path = MIGRATIONS, lock: Path = LOCK
) -> bool:
    """Write the baseline if it is not released; return whether it changed.

    Raises ChangedMigration if a released migration differs, and UnfoldedMigration if there is
    another migration although nothing is released.
    """
    new = check_migrations(migrations, lock)
    if BASELINE in read_lock(lock):
        return False
    others = [name for name in new if name != BASELINE]
    if others:
        raise UnfoldedMigration(
            f"{', '.join(others)}: nothing is released yet, so there is only the baseline."
            " Write the change into db/schema and remove the file."
        )
    path, text = migrations / BASELINE, assembled(schema)
    if path.exists() and path.read_text("utf-8") == text:
        return False
    path.write_text(text, "utf-8")
    return True
