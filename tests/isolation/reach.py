"""What is reached by a function: by the catalog (functions, policies, triggers that call it), and by
the tests (which test files call it: ``tests/isolation/reach.json``, measured by ``python -m
tests.isolation.reach``)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import psycopg

from neurant.installation.embedded import start_supervised
from neurant.installation.migrate import migrate
from neurant.verify.catalog import Catalog

ROOT = Path(__file__).resolve().parents[2]
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
REACH = Path(__file__).with_name("reach.json")
# The matrix is the first judge; browsers meet an unchanged schema; and whoever compares the schema's
# text with a committed one would kill every mutant, and know nothing of what it does.
_NOT_RUN = (
    "tests/browser/",
    "tests/database/test_dead_columns",
    "tests/database/test_reached_values",
    "tests/database/test_migrat",
    "tests/database/test_restore",
    "tests/database/test_upgrade",
    "tests/isolation/test_gates",
    "tests/isolation/test_matrix",
    "tests/isolation/test_mutants",
    "tests/isolation/test_operators",
)
_CALLED = re.compile(r"\b((?:private|public)\.\w+)\(")


@dataclass(frozen=True)
class Callers:
    """By a function's name: the functions that call it, and the tables it serves by policy or trigger."""

    functions: Mapping[str, frozenset[str]]
    tables: Mapping[str, frozenset[str]]
    signatures: Mapping[str, frozenset[str]]

    def near(self, name: str) -> list[frozenset[str]]:
        """Signatures and tables: the function itself, then what reaches it, one call further each."""
        met, layer, layers = {name}, {name}, []
        while layer:
            signatures = {one for function in layer for one in self.signatures[function]}
            tables = {table for function in layer for table in self.tables[function]}
            layers.append(frozenset(signatures | tables))
            layer = {caller for one in layer for caller in self.functions[one]} - met
            met |= layer
        seen: frozenset[str] = frozenset()
        fresh = []
        for one in layers:
            fresh.append(one - seen)
            seen |= one
        return [one for one in fresh if one]


def callers(db: psycopg.Connection[Any], catalog: Catalog) -> Callers:
    """Read who calls whom off the texts in the catalog."""
    functions: dict[str, set[str]] = defaultdict(set)
    tables: dict[str, set[str]] = defaultdict(set)
    signatures: dict[str, set[str]] = defaultdict(set)
    for function in catalog.functions.values():
        signatures[function.name].add(function.signature)
    for name, body in db.execute(
        "select n.nspname || '.' || p.proname, p.prosrc from pg_proc p"
        " join pg_namespace n on n.oid = p.pronamespace where n.nspname in ('public', 'private')"
    ).fetchall():
        for called in _CALLED.findall(body):
            functions[called].add(name)
    for table, text in db.execute(
        "select schemaname || '.' || tablename, concat(qual, with_check) from pg_policies"
    ).fetchall():
        for called in _CALLED.findall(text):
            tables[called].add(table)
    for one in catalog.tables.values():
        for trigger in one.triggers:
            for called in _CALLED.findall(trigger.definition):
                tables[called].add(one.name)
    return Callers(_frozen(functions), _frozen(tables), _frozen(signatures))


def _frozen(found: Mapping[str, set[str]]) -> Mapping[str, frozenset[str]]:
    return defaultdict(frozenset, {name: frozenset(values) for name, values in found.items()})


@lru_cache(maxsize=1)
def measured() -> Mapping[str, Mapping[str, Any]]:
    """By test file: its ``seconds`` and the names of the ``functions`` that it calls."""
    if not REACH.exists():
        return {}
    found: Mapping[str, Mapping[str, Any]] = json.loads(REACH.read_text("utf-8"))
    return found


@lru_cache(maxsize=1)
def _texts() -> Mapping[str, str]:
    """The test files (but the matrix's own, and what needs a browser) and what is in them."""
    return {
        name: path.read_text("utf-8")
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if not (name := str(path.relative_to(ROOT))).startswith(_NOT_RUN)
    }


@lru_cache(maxsize=1)
def _modules() -> Mapping[str, str]:
    """The product's modules and what is in them."""
    return {
        str(path.relative_to(ROOT / "neurant")): path.read_text("utf-8")
        for path in sorted((ROOT / "neurant").rglob("*.py"))
        if "verify" not in path.parts
    }


def files_of(name: str) -> list[str]:
    """The test files that call the function: those that name it, then those that call few others.

    Last come those that nobody has measured yet, of the packages whose code names the function.
    ``name`` may be a signature. LookupError where no test file reaches it.
    """
    name = name.partition("(")[0]
    named = re.compile(rf"\b{re.escape(name)}\b")
    naming = [file for file, text in _texts().items() if named.search(text)]
    reaching = [file for file, facts in measured().items() if name in facts["functions"]]
    packages = {Path(module).parts[0] for module, text in _modules().items() if named.search(text)}
    mirrored = [
        file
        for file in _texts()
        if file not in measured() and len(parts := Path(file).parts) > 2 and parts[1] in packages
    ]
    found = [*sorted(naming, key=_cost), *sorted(reaching, key=_cost), *mirrored]
    if not found:
        raise LookupError(f"no test file names or reaches {name}")
    return list(dict.fromkeys(found))


def _cost(file: str) -> float:
    facts = measured().get(file)
    return float(facts["seconds"]) + len(facts["functions"]) / 20 if facts else 0.0


def prepare_cluster(folder: Path) -> None:
    """A migrated server's data folder, stopped, for every test session to copy."""
    folder.mkdir(mode=0o711)
    server = start_supervised(folder, FAST)
    migrate(server.urls.admin)
    server.stop()


def calls_of(file: str, cluster: Path, seconds: float = 600.0) -> dict[str, Any] | None:
    """Run a test file and count; None where it calls nothing or does not end in time."""
    with tempfile.TemporaryDirectory(prefix="neurant-reach-") as folder:
        target = Path(folder) / "calls.json"
        environment = {
            **os.environ,
            "NEURANT_TEST_REACH": str(target),
            "NEURANT_TEST_CLUSTER": str(cluster),
        }
        command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider"]
        command += ["-m", "not browser and not soak", file]
        started = time.monotonic()
        try:
            subprocess.run(
                command,
                cwd=ROOT,
                env=environment,
                capture_output=True,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return None
        taken = round(time.monotonic() - started, 1)
        functions = json.loads(target.read_text("utf-8")) if target.exists() else []
        return {"seconds": taken, "functions": functions} if functions else None


def main() -> None:
    """Measure the test files that are named (all that are not measured yet, without names)."""
    files = sys.argv[1:] or sorted(_texts().keys() - measured().keys())
    found = dict(measured())
    with tempfile.TemporaryDirectory(prefix="neurant-reach-") as folder:
        Path(folder).chmod(0o711)
        cluster = Path(folder) / "cluster"
        prepare_cluster(cluster)
        for file in files:
            facts = calls_of(file, cluster)
            if facts:
                found[file] = facts
            print(file, facts["seconds"] if facts else "calls none", flush=True)
            lines = (f"{json.dumps(name)}: {json.dumps(found[name])}" for name in sorted(found))
            REACH.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()
