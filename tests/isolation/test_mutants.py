"""A short run of ``make mutate``: one mutant of each kind and a few more, and none survives."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from neurant.database.verify.run import Matrix
from tests.isolation.mutants import mutants, sample
from tests.isolation.mutate import judge
from tests.isolation.proving_ground import prepared


@pytest.fixture(scope="module")
def matrix(make_database: Callable[[], str]) -> Iterator[Matrix]:
    yield from prepared(make_database())


def test_a_mutant_of_each_kind_is_killed(matrix: Matrix) -> None:
    found = mutants(matrix.connection)
    assert len(found) >= 200
    fates = [judge(matrix, mutant) for mutant in sample(found, 25)]
    assert [fate.mutant for fate in fates if not (fate.behaviour or fate.gate)] == []
    assert sum(bool(fate.behaviour) for fate in fates) > len(fates) / 2
