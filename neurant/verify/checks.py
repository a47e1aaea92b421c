"""The check, a trial with its expected outcome, and the cell, its result."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from neurant.verify.catalog import Connection
from neurant.verify.probe import Outcome, Probe, try_all

_BATCH = 300  # small enough to stop soon when many cells are wrong


@dataclass(frozen=True)
class Cell:
    """A cell of the matrix: a caller, an operation, an object and a condition, with the result.

    ``undeclared`` names the text (``verify.undeclared.…``) of a cell that is wrong only because a
    committed file does not yet declare its object; such a cell says nothing about who may see what.
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


Verdict = tuple[str, bool]  # the outcome in words, and whether it is right
Judge = Callable[[Sequence[Outcome]], Verdict]


@dataclass(frozen=True)
class Check:
    """The probes of one cell, and their judge."""

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
        """Return the cell for these outcomes."""
        found, ok = self.judge(outcomes)
        return Cell(
            self.area, self.principal, self.object, self.operation, self.condition,
            self.expected, found, ok, self.undeclared,
        )  # fmt: skip


def run(connection: Connection, checks: Iterable[Check]) -> Iterator[Cell]:
    """Run all checks and yield a cell for each."""
    waiting = iter(checks)
    while batch := list(itertools.islice(waiting, _BATCH)):
        outcomes = iter(try_all(connection, [probe for check in batch for probe in check.probes]))
        for check in batch:
            yield check.cell([next(outcomes) for _ in check.probes])


def refused(outcomes: Sequence[Outcome]) -> Verdict:
    """Judge as right if the right was missing, or no row was shown or written."""
    [outcome] = outcomes
    if outcome.reached:
        return f"not refused: {outcome.summary}", False
    if outcome.state is None and outcome.value:
        return f"allowed ({_count(outcome.value)})", False
    return "refused" if outcome.state else "nothing", True


def same(outcomes: Sequence[Outcome]) -> Verdict:
    """Judge as right if both were refused, or answered, in the same way.

    A foreign row must be indistinguishable from a missing one.
    """
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
    return outcome.summary if outcome.state else f"{outcome.value}"


def _count(value: object) -> str:
    return f"{len(value)} rows" if isinstance(value, list) else f"{value} rows"
