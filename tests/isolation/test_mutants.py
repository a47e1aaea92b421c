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

from neurant.database.verify.run import Matrix
from tests.isolation.mutants import Mutant, bodies, mutants, sample
from tests.isolation.mutate import Fate, judge, judge_by_tests, result
from tests.isolation.mutation_results import equivalents, kept, unexplained
from tests.isolation.proving_ground import prepared
from tests.isolation.reach import Callers, callers, files_of, prepare_cluster

# Killed by the matrix: one of each operator. A changed function has other ones (`--function` lists them).
NOTICED = frozenset(
    {
        "private.advance_status() / condition negated / b28a734a",
        "private.advance_status() / conjunct dropped / 0af23a07",
        "private.advance_status() / AND to OR / 9e081e9c",
        "private.advance_status() / comparison negated / 4c41840a",
        "private.advance_status() / negation dropped / dee72ac6",
        "private.advance_status() / branch removed / d7c4aa5f",
        "private.advance_status() / element dropped / 9f1688ce",
        "private.advance_status() / literal changed / d6549186",
        "private.advance_status() / statement removed / 11d0260b",
        "private.take_conversation(uuid, boolean) / column swapped / 8e590bea",
        "private.number_message() / assignment dropped / 35529418",
        "private.number_message() / arithmetic reversed / d7270f4c",
        "private.keep_contact() / conflict clause dropped / e16bd8bd",
        "private.keep_contact() / conflict update dropped / c60ef63c",
        "private.queue_mail(uuid, uuid, text, text, text, bytea) / company from argument / 217455cc",
    }
)
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
def matrix(make_database: Callable[[], str]) -> Iterator[Matrix]:
    yield from prepared(make_database())


@pytest.fixture(scope="module")
def reach(matrix: Matrix) -> Callers:
    return callers(matrix.connection, matrix.world.catalog)


def named(matrix: Matrix, names: frozenset[str]) -> list[Mutant]:
    functions = frozenset(name.partition(" / ")[0] for name in names)
    return [one for one in bodies(matrix.connection, functions) if one.name in names]


def test_a_mutant_of_each_kind_is_killed(matrix: Matrix) -> None:
    found = mutants(matrix.connection)
    assert len(found) >= 200
    fates = [judge(matrix, mutant) for mutant in sample(found, 25)]
    assert [fate.mutant for fate in fates if not (fate.behaviour or fate.gate)] == []
    assert sum(bool(fate.behaviour) for fate in fates) > len(fates) / 2


def test_a_body_mutant_of_each_operator_is_killed_by_behaviour(
    matrix: Matrix, reach: Callers
) -> None:
    chosen = named(matrix, NOTICED)
    assert {mutant.name for mutant in chosen} == NOTICED
    fates = [judge(matrix, mutant, reach) for mutant in chosen]
    assert [fate.mutant.name for fate in fates if not fate.behaviour] == []


def test_every_other_operator_finds_something_to_change(matrix: Matrix) -> None:
    found = bodies(matrix.connection, frozenset(OTHERS))
    for function, operators in OTHERS.items():
        made = {mutant.kind for mutant in found if mutant.function == function}
        assert operators <= made, function


def test_the_mutants_are_the_same_in_every_run(matrix: Matrix) -> None:
    functions = frozenset({"private.team_directory", "private.enter_key"})
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
    matrix: Matrix, folder: Path
) -> None:
    """No cell of the matrix asks whether somebody who was let out is still in the directory."""
    let_out = "private.team_directory() / conjunct dropped / ad0c31f3"
    [mutant] = named(matrix, frozenset({let_out}))
    assert "tests/team/test_team_directory.py" in files_of(mutant.function)
    cluster = folder / "cluster"
    prepare_cluster(cluster)
    assert "test_team_directory.py" in judge_by_tests(mutant, cluster)
    assert "NEURANT_TEST_MUTANT" not in os.environ


def test_results_are_kept_by_schema_and_only_unexplained_survivors_are_told(
    matrix: Matrix, tmp_path: Path
) -> None:
    [mutant, *_] = named(matrix, NOTICED)
    lost = result(Fate(mutant, "", ""), "one")
    lines = [lost, result(Fate(mutant, "seen", ""), "one"), result(Fate(mutant, "", ""), "two")]
    file = tmp_path / "results.jsonl"
    file.write_text("".join(json.dumps(asdict(line)) + "\n" for line in lines), "utf-8")
    assert kept(file, "one")[mutant.name].killed
    assert not kept(file, "two")[mutant.name].killed
    assert kept(file, "three") == {}
    assert unexplained([lost]) == [lost]
