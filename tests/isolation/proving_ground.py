"""A database of its own for the matrix, so that no other test's objects are in it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from neurant.installation.migrate import migrate
from neurant.verify.run import Matrix, prepare


def prepared(url: str) -> Iterator[Matrix]:
    """The two companies on a freshly migrated database; all is rolled back at the end."""
    migrate(url)
    with psycopg.connect(url) as db, db.transaction(force_rollback=True):
        yield prepare(db, thorough=True)
