"""Renew the files that follow from the schema files.

Run ``make schema`` after an edit of db/schema.

It assembles the baseline migration (until it is released), proves that the schema files and the
migrations create the same database, and writes the lists and the record of ``neurant verify``.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import psycopg

from neurant.installation.embedded import start_supervised
from neurant.installation.migrate import MIGRATIONS, migrate
from neurant.verify.lists import rewrite as rewrite_lists
from neurant.verify.recorded import rewrite as rewrite_record
from scripts.catalog import catalog, differences
from scripts.migration_lock import ChangedMigration
from scripts.schema_files import BASELINE, UnfoldedMigration, assemble_baseline, assembled


def main() -> int:
    """Return 0 when all is written.

    Returns 1, with instructions, when the schema files and the migrations disagree.
    """
    try:
        if assemble_baseline():
            print(f"{MIGRATIONS.name}/{BASELINE}: assembled")
    except (ChangedMigration, UnfoldedMigration) as error:
        print(error, file=sys.stderr)
        return 1
    folder = Path(tempfile.mkdtemp(prefix="neurant-schema-"))
    folder.chmod(0o711)  # PostgreSQL may run under another account
    try:
        server = start_supervised(folder, {"fsync": "off"})
        try:
            wrong = _renew(server.urls.admin, folder)
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if wrong:
        print("db/schema and the migrations make different databases:", *wrong, sep="\n")
        return 1
    print("neurant/verify: lists and record written")
    return 0


def _renew(url: str, folder: Path) -> list[str]:
    migrate(url)
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("create database schema_files template template0")
    files_url = url.replace("/neurant?", "/schema_files?")
    only = folder / "migrations"
    only.mkdir()
    (only / BASELINE).write_text(assembled(), "utf-8")
    migrate(files_url, only)
    wrong = differences(catalog(files_url), catalog(url))
    if not wrong:
        rewrite_lists(url)
        rewrite_record(url)
    return wrong


if __name__ == "__main__":
    sys.exit(main())
