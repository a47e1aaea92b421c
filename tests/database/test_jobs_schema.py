"""The job library's tables are a copy in our migrations; here it is held equal to the library's."""

from __future__ import annotations

from procrastinate.schema import SchemaManager

from neurant.installation.migrate import MIGRATIONS


def test_the_copy_equals_the_librarys_schema() -> None:
    migration = (MIGRATIONS / "20261122000012_jobs.sql").read_text("utf-8")
    _, _, rest = migration.partition("-- procrastinate schema: begin\n")
    copy, _, _ = rest.partition("\n-- procrastinate schema: end")
    assert copy.strip() == SchemaManager.get_schema().strip()
