"""A short run of ``make mutate``: mutants of the catalog, one body mutant of each operator that the
matrix can notice, and one that the second judge (the test files that reach a function) kills."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from neurant.verify.run import Matrix
from tests.isolation.mutants import Mutant, bodies, mutants, sample
from tests.isolation.mutate import Fate, judge, judge_by_tests, result
from tests.isolation.mutation_results import equivalents, kept, unexplained
from tests.isolation.proving_ground import prepared
from tests.isolation.reach import Callers, callers, files_of, prepare_cluster

# Where the matrix notices what the operator makes.
NOTICED = {
    "AND to OR": "private.advance_status",
    "arithmetic reversed": "private.number_message",
    "assignment dropped": "private.number_message",
    "branch removed": "private.advance_status",
    "column swapped": "private.take_conversation",
    "company from argument": "private.queue_mail",
    "comparison negated": "private.advance_status",
    "condition negated": "private.advance_status",
    "conflict clause dropped": "private.keep_contact",
    "conflict update dropped": "private.keep_contact",
    "conjunct dropped": "private.advance_status",
    "element dropped": "private.advance_status",
    "literal changed": "private.advance_status",
    "negation dropped": "private.advance_status",
    "statement removed": "private.advance_status",
}
# Where the other operators have something to change; what they make is the test files' to notice.
OTHERS = {
    "private.visitor_conversation_id": {
        "inner join to left join",
        "limit dropped",
        "order reversed",
    },
    "private.user_role": {"boundary moved", "check dropped", "disjunct dropped", "OR to AND"},
    "private.my_sessions": {"left join to inner join"},
    "private.search_conversations": {"distinct dropped"},
    "private.claim_replies": {"lock dropped", "skip locked dropped", "condition dropped"},
    "private.team_directory": {"permission dropped"},
}


@pytest.fixture(scope="module")
def matrix(make_migrated_database: Callable[[], str]) -> Iterator[Matrix]:
    yield from prepared(make_migrated_database())


@pytest.fixture(scope="module")
def reach(matrix: Matrix) -> Callers:
    return callers(matrix.connection, matrix.fixture.catalog)


@pytest.fixture(scope="module")
def found(matrix: Matrix) -> list[Mutant]:
    """Every body mutant of the functions that are named above."""
    return bodies(matrix.connection, frozenset({*NOTICED.values(), *OTHERS}))


def made(found: list[Mutant], function: str, operator: str) -> list[Mutant]:
    return [one for one in found if (one.function, one.kind) == (function, operator)]


def test_a_mutant_of_each_kind_is_killed(matrix: Matrix) -> None:
    found = mutants(matrix.connection)
    assert len(found) >= 200
    fates = [judge(matrix, mutant) for mutant in sample(found, 25)]
    assert [fate.mutant for fate in fates if not (fate.behaviour or fate.gate)] == []
    assert sum(bool(fate.behaviour) for fate in fates) > len(fates) / 2


def test_a_body_mutant_of_each_operator_is_killed_by_behaviour(
    matrix: Matrix, reach: Callers, found: list[Mutant]
) -> None:
    unnoticed = [
        (operator, function)
        for operator, function in NOTICED.items()
        if not any(
            judge(matrix, mutant, reach).behaviour for mutant in made(found, function, operator)[:3]
        )
    ]
    assert unnoticed == []


def test_every_other_operator_finds_something_to_change(found: list[Mutant]) -> None:
    for function, operators in OTHERS.items():
        kinds = {mutant.kind for mutant in found if mutant.function == function}
        assert operators <= kinds, function


def test_the_mutants_are_the_same_in_every_run(matrix: Matrix) -> None:
    functions = frozenset({"private.team_directory"})
    first, second = (bodies(matrix.connection, functions) for _ in range(2))
    assert first == second
    assert Counter(mutant.name for mutant in first).most_common(1)[0][1] == 1
    assert {mutant.function for mutant in first} == functions


def test_what_is_argued_as_equivalent_is_a_mutant_still(matrix: Matrix) -> None:
    by_id, by_operator = equivalents()
    functions = frozenset(name.partition(" / ")[0] for name in by_id)
    there = {mutant.name for mutant in bodies(matrix.connection, functions)} if by_id else set()
    assert set(by_id) - there == set()
    assert all(reason.strip().endswith(".") for reason in (*by_id.values(), *by_operator.values()))


def test_the_test_files_that_call_a_function_kill_what_the_matrix_does_not_see(
    found: list[Mutant], folder: Path
) -> None:
    """Here: whoever was let out is in the directory no more."""
    [mutant] = [
        one
        for one in made(found, "private.team_directory", "conjunct dropped")
        if "[-u.is_active AND -]" in one.difference
    ]
    assert "tests/team/test_team_directory.py" in files_of(mutant.function)
    cluster = folder / "cluster"
    prepare_cluster(cluster)
    assert "test_team_directory.py" in judge_by_tests(mutant, cluster)
    assert "NEURANT_TEST_MUTANT" not in os.environ


def test_a_signature_reaches_the_test_files_of_its_name() -> None:
    assert files_of("private.team_directory()") == files_of("private.team_directory")
    with pytest.raises(LookupError, match=r"private\.no_such_function"):
        files_of("private.no_such_function(uuid)")


def test_results_are_kept_by_schema_and_only_unexplained_survivors_are_reported(
    found: list[Mutant], tmp_path: Path
) -> None:
    [mutant, *_] = made(found, "private.keep_contact", "conflict clause dropped")
    lost = result(Fate(mutant, "", ""), "one")
    lines = [lost, result(Fate(mutant, "seen", ""), "one"), result(Fate(mutant, "", ""), "two")]
    file = tmp_path / "results.jsonl"
    file.write_text("".join(json.dumps(asdict(line)) + "\n" for line in lines), "utf-8")
    assert kept(file, "one")[mutant.name].killed
    assert not kept(file, "two")[mutant.name].killed
    assert kept(file, "three") == {}
    assert unexplained([lost]) == [lost]
