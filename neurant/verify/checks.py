"""A check: something to try, and what must come of it. A cell: what did."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from neurant.verify.catalog import Connection
from neurant.verify.probe import Outcome, Probe, try_all

_BATCH = 300  # small enough to stop soon where much is broken


@dataclass(frozen=True)
class Cell:
    """One cell of the matrix: who does what to which object, and under which condition.

    ``undeclared`` names the text (``verify.undeclared.…``) of a cell that is wrong only because a
    committed file does not yet declare its object: it says nothing about who may see what.
    """

    area: str
    principal: str
    object: str
    operation: str
    condition: str
    expected: str
    found: str
    ok: bool
    undeclared: str = ""


Verdict = tuple[str, bool]  # what was found, and whether it is right
Judge = Callable[[Sequence[Outcome]], Verdict]


@dataclass(frozen=True)
class Check:
    """Probes that make one cell together, and their judge."""

    area: str
    principal: str
    object: str
    operation: str
    condition: str
    expected: str
    probes: tuple[Probe, ...]
    judge: Judge
    undeclared: str = ""

    def cell(self, outcomes: Sequence[Outcome]) -> Cell:
        """The cell that these outcomes make."""
        found, ok = self.judge(outcomes)
        return Cell(
            self.area, self.principal, self.object, self.operation, self.condition,
            self.expected, found, ok, self.undeclared,
        )  # fmt: skip


def run(connection: Connection, checks: Iterable[Check]) -> Iterator[Cell]:
    """Try everything; a cell for each check."""
    waiting = iter(checks)
    while batch := list(itertools.islice(waiting, _BATCH)):
        outcomes = iter(try_all(connection, [probe for check in batch for probe in check.probes]))
        for check in batch:
            yield check.cell([next(outcomes) for _ in check.probes])


def refused(outcomes: Sequence[Outcome]) -> Verdict:
    """Right if there was no right to it, or nothing of it: no row shown, no row written."""
    [outcome] = outcomes
    if outcome.reached:
        return f"not refused: {outcome.told}", False
    if outcome.state is None and outcome.value:
        return f"allowed ({_count(outcome.value)})", False
    return "refused" if outcome.state else "nothing", True


def same(outcomes: Sequence[Outcome]) -> Verdict:
    """Right if both were refused, or answered, alike: what is another's looks like what is not."""
    foreign, unknown = outcomes
    alike = (foreign.state, foreign.message, foreign.value) == (
        unknown.state,
        unknown.message,
        unknown.value,
    )
    if not alike:
        return f"told apart: {_said(foreign)} / {_said(unknown)}", False
    return _said(foreign), True


def _said(outcome: Outcome) -> str:
    return outcome.told if outcome.state else f"{outcome.value}"


def _count(value: object) -> str:
    return f"{len(value)} rows" if isinstance(value, list) else f"{value} rows"
