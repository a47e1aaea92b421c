"""The structure of the packages: layers without cycles, and features that keep their inside."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

from grimp import ImportGraph
from importlinter import Contract

from scripts.import_contracts import PrivateModules

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
LAYERS = next(one["layers"] for one in SETTINGS["contracts"] if one["name"] == "Layers")


def test_the_import_contracts_hold() -> None:
    command = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def contract() -> Contract:
    options = {"features": ["plans", "team"], "private": ["queries"]}
    return PrivateModules(name="", session_options={}, contract_options=options)


def graph(importer: str, imported: str) -> ImportGraph:
    made = ImportGraph()
    made.add_import(importer=importer, imported=imported)
    return made


def test_a_feature_that_imports_the_queries_of_another_is_refused() -> None:
    found = contract().check(graph("neurant.team.service", "neurant.plans.queries"), False)
    assert not found.kept
    assert found.metadata["broken"] == [("neurant.team.service", "neurant.plans.queries")]


def test_a_feature_uses_its_own_queries_and_the_services_of_others() -> None:
    assert contract().check(graph("neurant.plans.service", "neurant.plans.queries"), False).kept
    assert contract().check(graph("neurant.team.service", "neurant.plans.service"), False).kept


def test_the_picture_of_the_architecture_shows_the_layers_that_are_checked() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    picture = page[page.index("```mermaid") : page.index("```", page.index("```mermaid") + 3)]
    shown = re.findall(r'^\s+(\w+)\["([^"]+)"\]', picture, re.MULTILINE)
    assert [names for _, names in shown] == [
        ", ".join(re.findall(r"\w+", layer)) for layer in LAYERS
    ]
    arrows = re.findall(r"^\s+(\w+) --> (\w+)$", picture, re.MULTILINE)
    order = [name for name, _ in shown]
    assert arrows == list(pairwise(order))
