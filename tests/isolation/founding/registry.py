"""The defects of the founding design, each with one scenario and its outcome in either fixture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.isolation.founding.fixtures import FoundingFixture

Scenario = Callable[[FoundingFixture], Any]


@dataclass(frozen=True)
class Defect:
    """``drafted`` shows the defect, ``ours`` its absence; both are what the scenario returns."""

    id: str
    says: str
    scenario: Scenario
    drafted: Any
    ours: Any


DEFECTS: dict[str, Defect] = {}


def defect(id: str, says: str, *, drafted: Any, ours: Any) -> Callable[[Scenario], Scenario]:
    """Registers a scenario. One per defect."""

    def register(scenario: Scenario) -> Scenario:
        assert id not in DEFECTS
        assert drafted != ours
        DEFECTS[id] = Defect(id, says, scenario, drafted, ours)
        return scenario

    return register
