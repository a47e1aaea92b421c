"""A matrix on a database of its own, so that no other test's objects are in it."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

from neurant.verify.run import Matrix, prepare


def prepared(url: str) -> Iterator[Matrix]:
    """The two companies on a migrated database; everything is rolled back at the end."""
    with psycopg.connect(url) as db, db.transaction(force_rollback=True):
        yield prepare(db, thorough=True)
