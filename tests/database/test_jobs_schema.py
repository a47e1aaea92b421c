"""The job library's tables are a copy in our schema; here it is held equal to the library's."""

from __future__ import annotations

from procrastinate.schema import SchemaManager

from scripts.schema_files import SCHEMA


def test_the_copy_equals_the_librarys_schema() -> None:
    file = (SCHEMA / "02_jobs_library.sql").read_text("utf-8")
    _, _, rest = file.partition("-- procrastinate schema: begin\n")
    copy, _, _ = rest.partition("\n-- procrastinate schema: end")
    assert copy.strip() == SchemaManager.get_schema().strip()
