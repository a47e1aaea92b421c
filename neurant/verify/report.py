"""The report, as text for an auditor or as JSON for a machine."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime

from neurant.texts import Language, text
from neurant.verify.checks import Cell
from neurant.verify.expectations import FOLDER, OPERATIONS

AREAS = (
    "tables",
    "rows",
    "columns",
    "functions",
    "oracles",
    "references",
    "uniques",
    "effects",
    "plans",
    "catalog_rules",
)
_SHOWN = 200


@dataclass(frozen=True)
class Report:
    """The trials on a database and the parts that could not be tried.

    ``seconds`` is the total time.
    """

    database: str
    server: str
    made: datetime
    seconds: float
    rows: int
    cells: list[Cell]
    unverified: list[str]  # principals that this login could not try
    left_out: int = 0  # functions that read every company, not tried beside real companies

    @property
    def wrong(self) -> list[Cell]:
        """Return the cells whose outcome is not the expected one."""
        return [cell for cell in self.cells if not cell.ok]

    def as_json(self) -> str:
        """Return the whole report as JSON."""
        told = asdict(self) | {"made": self.made.isoformat(), "ok": not self.wrong}
        return json.dumps(told, ensure_ascii=False, indent=1)

    def lines(self, language: Language) -> Iterator[str]:
        """Yield the report as text."""

        def say(name: str, /, **facts: object) -> str:
            return text(f"verify.{name}", language, **facts)

        yield say(
            "title",
            database=self.database,
            server=self.server,
            when=f"{self.made:%Y-%m-%d %H:%M} UTC",
        )
        yield say("how", rows=self.rows, cells=len(self.cells), seconds=f"{self.seconds:.1f}")
        yield ""
        done, bad = Counter(c.area for c in self.cells), Counter(c.area for c in self.wrong)
        for area in AREAS:
            if done[area]:
                mark = "✗" if bad[area] else "✓"
                yield f"{mark} {say(f'area.{area}')}: " + say(
                    "count", cells=done[area], wrong=bad[area]
                )
        for name in self.unverified:
            yield f"! {say('unverified', principal=name)}"
        if self.left_out:
            yield f"! {say('left_out', count=self.left_out)}"
        yield ""
        yield say("who")
        yield from self._tables()
        yield ""
        for cell in self.wrong[:_SHOWN]:
            place = (cell.principal, cell.operation, cell.object, cell.condition)
            yield f"✗ {' · '.join(filter(None, place))}"
            yield "    " + (
                say(f"undeclared.{cell.undeclared}", name=cell.condition, found=cell.found)
                if cell.undeclared
                else say("expected", expected=cell.expected, found=cell.found)
            )
        if len(self.wrong) > _SHOWN:
            yield say("more", count=len(self.wrong) - _SHOWN)
        undeclared = sum(bool(cell.undeclared) for cell in self.wrong)
        if undeclared:
            yield say("undeclared.count", count=undeclared)
        if len(self.wrong) > undeclared:
            yield say("wrong", count=len(self.wrong) - undeclared)
        elif not undeclared:
            yield say("right")

    def _tables(self) -> Iterator[str]:
        """Yield who may do what, table by table, as the trials have shown."""
        bad = {cell.object for cell in self.wrong}
        written = tomllib.loads((FOLDER / "tables.toml").read_text("utf-8"))
        for name, entry in written.items():
            yield f"  {'✗' if name in bad else '✓'} {name}"
            for operation in OPERATIONS:
                if operation in entry:
                    yield f"      {operation:<7} {entry[operation]}"
