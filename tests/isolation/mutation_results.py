"""What is kept of the runs of ``make mutate``: one line of JSON for each mutant, a report, a record."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from neurant.installation.migrate import MIGRATIONS

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "build" / "mutation.jsonl"
RECORD = Path(__file__).with_name("mutation_record.md")
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.toml")


@dataclass(frozen=True)
class Result:
    """A fate as it is kept: one line of JSON."""

    schema: str
    id: str
    kind: str
    what: str
    difference: str
    behaviour: str
    gate: str
    tests: str
    seconds: float

    @property
    def killer(self) -> str:
        """Who noticed it first: the cells of verify, its gates, the tests; ``""``: nobody."""
        found = {"cells": self.behaviour, "gates": self.gate, "tests": self.tests}
        return next((name for name, told in found.items() if told), "")

    @property
    def killed(self) -> bool:
        """Whether anybody noticed it."""
        return bool(self.killer)


def kept(path: Path, schema: str) -> dict[str, Result]:
    """The results of earlier runs on this schema, by the mutant's id; the newest of each."""
    if not path.exists():
        return {}
    lines = map(json.loads, path.read_text("utf-8").splitlines())
    return {line["id"]: Result(**line) for line in lines if line["schema"] == schema}


def schema_print() -> str:
    """Names the schema that the results are of."""
    files = sorted(MIGRATIONS.glob("*.sql"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]


def equivalents() -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The committed reasons: by the mutant's id, and by operator."""
    if not EQUIVALENT.exists():
        return {}, {}
    written = tomllib.loads(EQUIVALENT.read_text("utf-8"))
    return (
        {entry["id"]: entry["reason"] for entry in written.get("mutant", [])},
        {entry["operator"]: entry["reason"] for entry in written.get("operator", [])},
    )


def unexplained(results: Sequence[Result]) -> list[Result]:
    """The survivors that no committed reason explains."""
    by_id, by_operator = equivalents()
    return [
        one for one in results if not (one.killed or one.id in by_id or one.kind in by_operator)
    ]


def report(results: Sequence[Result]) -> bool:
    """Print scores by operator, and survivors; whether all were killed or explained."""
    survivors = unexplained(results)
    print("\n".join(_scores(results)))
    for one in survivors:
        print(f"SURVIVED {one.id}\n    {one.difference}")
    return not survivors


def write_record(results: Sequence[Result], asked: str) -> None:
    """Write the committed record: what was asked for, where and when, scores and survivors."""
    told = [
        "# The last recorded run of `make mutate`",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, schema {schema_print()}, {asked}, {os.cpu_count()} cores"
        f" ({platform.machine()}), Python {platform.python_version()}.",
        "",
        "```",
        *_scores(results),
        "```",
        "",
        "## Survivors that nobody has explained",
        *(f"- `{one.id}`: `{one.difference}`" for one in unexplained(results)),
    ]
    RECORD.write_text("\n".join(told) + "\n", "utf-8")


def _scores(results: Sequence[Result]) -> Iterator[str]:
    yield f"{'operator':<32} mutants  cells  gates  tests  alive"
    for kind in sorted({one.kind for one in results}):
        by = Counter(one.killer for one in results if one.kind == kind)
        yield f"{kind:<32} {by.total():>7} " + " ".join(
            f"{by[killer]:>6}" for killer in ("cells", "gates", "tests", "")
        )
    total, alive = len(results), sum(not one.killed for one in results)
    unknown = len(unexplained(results))
    yield (
        f"{total} mutants, {total - alive} killed ({100 * (total - alive) / max(total, 1):.1f} %),"
        f" {alive - unknown} explained, {unknown} unexplained;"
        f" {sum(one.seconds for one in results) / 3600:.2f} hours of one process"
    )
