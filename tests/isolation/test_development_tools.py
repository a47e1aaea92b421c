"""pglast is under the GPL: it helps to test the schema, and no part of the product may need it."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_product_neither_imports_nor_installs_the_sql_parser_of_the_tests() -> None:
    importing = [
        path.name
        for path in (ROOT / "neurant").rglob("*.py")
        if "pglast" in path.read_text("utf-8")
    ]
    assert importing == []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert "pglast" not in project["dependencies"]
    assert "pglast" in project["optional-dependencies"]["dev"]
