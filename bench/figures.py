"""A figure: a measured value, the baseline of the same run, their ratio, and the goal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal


class NotMeasuredError(Exception):
    """A measurement cannot be made on this machine; the text says why."""


@dataclass(frozen=True)
class Figure:
    """One figure. ``measured`` and ``baseline_measured`` have the same unit.

    ``ratio`` is ``measured`` divided by ``baseline_measured``, or the median of that quotient over
    all rounds. ``goal_on`` says which of the two the goal limits: the ratio or the measured value.
    """

    id: str
    title: str
    measured: float
    unit: str
    baseline: str
    baseline_measured: float
    ratio: float
    details: str
    goal: float | None = None
    goal_on: Literal["ratio", "measured"] = "ratio"
    higher_is_better: bool = False

    @property
    def value(self) -> float:
        """Return the number that the goal limits."""
        return self.ratio if self.goal_on == "ratio" else self.measured

    @property
    def is_green(self) -> bool:
        """Return whether the goal is reached. A figure without a goal is green."""
        if self.goal is None:
            return True
        return self.value >= self.goal if self.higher_is_better else self.value <= self.goal


Figures = Iterator[Figure]


def quotient(measured: float, baseline: float) -> float:
    """Return ``measured`` divided by ``baseline``. A baseline of 0 gives 1 or infinity."""
    if baseline:
        return measured / baseline
    return 1.0 if measured == 0 else float("inf")


def number(value: float) -> str:
    """Return a number with three significant digits and all digits before the decimal point."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".")


def verdict(figure: Figure) -> str:
    """Return ``green``, ``RED``, or ``-`` for a figure without a goal."""
    if figure.goal is None:
        return "-"
    return "green" if figure.is_green else "RED"


def goal_text(figure: Figure) -> str:
    """Return the goal in words, for example ``ratio <= 1.05`` or ``<= 600 ms``."""
    if figure.goal is None:
        return "no goal"
    sign = ">=" if figure.higher_is_better else "<="
    if figure.goal_on == "ratio":
        return f"ratio {sign} {figure.goal:g}"
    return f"{sign} {figure.goal:,g} {figure.unit}".rstrip()


def line(figure: Figure) -> str:
    """Return one line of text for one figure."""
    return (
        f"{verdict(figure):<5} {figure.title}: {number(figure.measured)} {figure.unit},"
        f" {number(figure.ratio)} times the baseline ({figure.baseline}:"
        f" {number(figure.baseline_measured)} {figure.unit}); {goal_text(figure)}; {figure.details}"
    )
