"""``make mutate``: break the schema in every way we can think of, and see whether anybody notices.

Each mutant lives in a savepoint of one transaction, is met by the matrix (behaviour: somebody tries,
first what is near) and by the gates (the catalog is read), and is rolled back. A mutant of a body that
the matrix leaves alive is installed in the databases of the test files that reach its function. What
survives all three is a bug of the suite, or is argued in ``equivalent_mutants.toml``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import Manager, get_context
from pathlib import Path
from queue import Queue

import psycopg
import pytest

from neurant.installation.embedded import start_supervised
from neurant.verify.catalog_rules import rule_cells
from neurant.verify.run import Matrix, catalog_rules, cells, prepare
from tests.isolation.mutants import Mutant, bodies, mutants, sample
from tests.isolation.mutation_results import (
    RESULTS,
    ROOT,
    Result,
    kept,
    report,
    schema_print,
    write_record,
)
from tests.isolation.reach import Callers, callers, files_of, measured, prepare_cluster
from tests.support.mutation import copy_tree

# Nobody who serves traffic can make what such a function would be misled by: no behaviour to see.
LISTS_ONLY = {
    "search_path removed",
    "stray right",
    "stray membership",
    "stray role setting",
    "stray object",
}
HEART = frozenset({"public.conversations", "public.messages", "public.users"})
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
# The objects to try (None: all of them), and whether with the rights on columns.
Round = tuple[frozenset[str] | None, bool]
# Half of a small test file's time is to import these.
_HEAVY = ("neurant.runtime.app", "anyio", "httpx", "hypothesis", "procrastinate")
# Of one test file, after which the mutant hangs: ten times what it takes, and at least this.
_FILE_SECONDS = 120.0
_UNMEASURED_SECONDS = 900.0
_TESTS_SECONDS = 240.0  # of all test files of one mutant: what is left then is not run


@dataclass(frozen=True)
class Fate:
    """What killed a mutant, in a few words each; empty: nothing did."""

    mutant: Mutant
    behaviour: str
    gate: str
    tests: str = ""
    seconds: float = 0.0

    @property
    def killed(self) -> bool:
        """Whether anything noticed it."""
        return bool(self.behaviour or self.gate or self.tests)


def judge(matrix: Matrix, mutant: Mutant, reach: Callers | None = None) -> Fate:
    """Break the schema, try what is near, read the catalog, and roll back.

    The whole matrix (most of the time that a mutant takes) is tried only where neither the near
    objects nor the catalog rules noticed the mutant.
    """
    started = time.monotonic()
    with matrix.connection.transaction(force_rollback=True):
        # A policy that calls itself runs until the stack is full, each time.
        matrix.connection.execute("select set_config('statement_timeout', '20s', true)")
        behaviour = _refusal(matrix, mutant) or _behaviour(matrix, _near(mutant, reach))
        # A body that a cell has killed needs no gate: few of them read bodies.
        gate = _gate(matrix, mutant) if not (mutant.id and behaviour) else ""
        if not behaviour and not gate and _is_everywhere(mutant):
            behaviour = _behaviour(matrix, [(None, False)])
    return Fate(mutant, behaviour, gate, seconds=time.monotonic() - started)


def _refusal(matrix: Matrix, mutant: Mutant) -> str:
    """Break it. A key without its company does not fit rows of two companies that share an id."""
    try:
        with matrix.connection.transaction():
            for statement in mutant.statements:
                matrix.connection.execute(statement.encode())
    except psycopg.errors.UniqueViolation as error:
        return f"the rows of the two companies do not fit: {error}"
    return ""


def _behaviour(matrix: Matrix, rounds: Iterable[Round]) -> str:
    """The first wrong cell of these rounds; ``""``: there is none."""
    for only, columns in rounds:
        try:
            with matrix.connection.transaction(force_rollback=True):
                for cell in cells(matrix, only, columns=columns):
                    if not cell.ok:
                        return f"{cell.principal} {cell.operation} {cell.object}: {cell.found}"
        except psycopg.Error as error:
            return f"the matrix cannot run: {error}"
    return ""


def _near(mutant: Mutant, reach: Callers | None) -> Iterator[Round]:
    """First the objects near the mutant, then those that most statements touch.

    No body changes the rights on columns.
    """
    if mutant.function and reach:
        for layer in reach.near(mutant.function):
            yield layer, False
        return
    yield mutant.near, not mutant.id
    if mutant.kind not in LISTS_ONLY:
        yield HEART, False


def _is_everywhere(mutant: Mutant) -> bool:
    """Whether the whole matrix could notice what the near objects do not show."""
    return not mutant.id and mutant.kind not in LISTS_ONLY


def _gate(matrix: Matrix, mutant: Mutant) -> str:
    # A function's body changes no plan of a policy.
    rules = (
        rule_cells(matrix.connection, matrix.fixture.catalog)
        if mutant.function
        else catalog_rules(matrix)
    )
    return next((f"{cell.object}: {cell.found}" for cell in rules if not cell.ok), "")


def judge_by_tests(mutant: Mutant, cluster: Path) -> str:
    """The first test that fails of the files that reach the mutated function; ``""``: none."""
    started = time.monotonic()
    try:
        files = files_of(mutant.function)
    except LookupError as error:
        print(f"{mutant.name}: {error}", file=sys.stderr)
        return ""
    with tempfile.TemporaryDirectory(prefix="neurant-mutant-") as folder:
        statements = Path(folder) / "mutant.sql"
        statements.write_text(";\n".join(mutant.statements), "utf-8")
        environment = {
            "NEURANT_TEST_MUTANT": str(statements),
            "NEURANT_TEST_CLUSTER": str(cluster),
        }
        for file in files:
            if time.monotonic() - started > _TESTS_SECONDS:
                return ""
            failed = _failure(file, environment)
            if failed and _is_green(file, str(cluster)):
                return failed
    return ""


@cache
def _is_green(file: str, cluster: str) -> bool:
    """Whether the file passes where nothing is broken: else its failure says nothing."""
    return not _failure(file, {"NEURANT_TEST_CLUSTER": cluster})


def _patience(file: str) -> float:
    facts = measured().get(file)
    return max(_FILE_SECONDS, 10 * float(facts["seconds"])) if facts else _UNMEASURED_SECONDS


def _failure(file: str, environment: Mapping[str, str]) -> str:
    """Run one file in a fork of this process, which has imported what takes seconds to import."""
    with tempfile.NamedTemporaryFile("r", encoding="utf-8", prefix="neurant-told-") as told:
        run = get_context("fork").Process(target=_run_file, args=(file, environment, told.name))
        run.start()
        run.join(_patience(file))
        if run.is_alive():
            os.killpg(run.pid or 0, signal.SIGKILL)
            run.join()
            return f"{file}: no end"
        if run.exitcode in (0, pytest.ExitCode.NO_TESTS_COLLECTED):
            return ""
        failed = [line for line in told if line.startswith(("FAILED", "ERROR"))]
        return failed[0].strip()[:300] if failed else f"{file}: status {run.exitcode}"


def _run_file(file: str, environment: Mapping[str, str], told: str) -> None:
    os.setsid()  # so that whatever the tests start can be ended with them
    os.environ.update(environment)
    os.chdir(ROOT)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(ROOT / "tests")):
            del sys.modules[name]  # conftest.py reads the environment when it is imported
    output = os.open(told, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(output, stream)
    options = [
        *("-x", "-q", "--tb=no", "--randomly-dont-reorganize", "-p", "no:cacheprovider"),
        *("-m", "not browser and not soak"),
    ]
    code = int(pytest.main([*options, file]))
    sys.stdout.flush()
    os._exit(code)  # nothing of the parent's (its connection) is closed here


# What each process of the pool keeps.
_at_work: dict[str, object] = {}


def _begin(places: Queue[str], cluster: Path, with_tests: bool, functions: Sequence[str]) -> None:
    """In each process: a database of its own, with the two companies in it, where all is well."""
    connection = psycopg.connect(places.get())
    connection.execute("select 1")
    matrix = prepare(connection, thorough=True)
    reach = callers(connection, matrix.fixture.catalog)
    names = [name.partition("(")[0] for name in functions]
    near = frozenset(one for name in names for layer in reach.near(name) for one in layer)
    found = cells(matrix, near if functions else None, columns=not functions)
    wrong = [cell for cell in (*found, *catalog_rules(matrix)) if not cell.ok]
    assert not wrong, f"not green to begin with: {wrong[:3]}"
    if with_tests:
        for module in _HEAVY:
            importlib.import_module(module)
    _at_work.update(matrix=matrix, reach=reach, cluster=cluster, with_tests=with_tests)


def _work(mutant: Mutant) -> Fate:
    matrix, reach, cluster = _at_work["matrix"], _at_work["reach"], _at_work["cluster"]
    assert isinstance(matrix, Matrix)
    assert isinstance(reach, Callers)
    assert isinstance(cluster, Path)
    fate = judge(matrix, mutant, reach)
    if fate.killed or not mutant.function or not _at_work["with_tests"]:
        return fate
    started = time.monotonic()
    tests = judge_by_tests(mutant, cluster)
    seconds = fate.seconds + time.monotonic() - started
    return Fate(mutant, fate.behaviour, fate.gate, tests, seconds)


def result(fate: Fate, schema: str) -> Result:
    """What is kept of a fate."""
    mutant = fate.mutant
    return Result(
        schema, mutant.name, mutant.kind, mutant.what, mutant.difference[:400],
        fate.behaviour[:300], fate.gate[:300], fate.tests, round(fate.seconds, 2),
    )  # fmt: skip


def _chosen(found: list[Mutant], done: Mapping[str, Result], count: int, seed: int) -> list[Mutant]:
    """All that are not done yet (0), or a sample; by chance, so that a part says something."""
    if count:
        return sample(found, count, seed)
    left = [mutant for mutant in found if mutant.name not in done]
    random.Random(seed).shuffle(left)
    return left


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.isolation.mutate", description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="0: all that are not done yet")
    parser.add_argument("--seed", type=int, help="of the sample; printed, to repeat it")
    parser.add_argument("--function", nargs="*", help="only bodies of these (names or signatures)")
    parser.add_argument("--only-verify", action="store_true", help="run no test files")
    parser.add_argument("--minutes", type=float, default=0, help="stop then; go on another time")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="print what is known, try nothing")
    parser.add_argument("--record", action="store_true", help="write mutation_record.md, too")
    parser.add_argument("--results", type=Path, default=RESULTS)
    return parser.parse_args()


def main() -> None:
    """See ``--help``. Status 1 if a mutant survived without a committed reason."""
    asked, schema = _arguments(), schema_print()
    if asked.report:
        known = [*kept(asked.results, schema).values()]
        if asked.record:
            write_record(known, "of all that is kept")
        sys.exit(0 if report(known) else 1)
    with tempfile.TemporaryDirectory(prefix="neurant-mutate-") as folder:
        cluster, data = Path(folder) / "cluster", Path(folder) / "data"
        Path(folder).chmod(0o711)
        prepare_cluster(cluster)
        copy_tree(cluster, data)
        server = start_supervised(data, FAST)
        try:
            results = _run(asked, server.urls.admin, cluster, schema)
        finally:
            server.stop()
    sys.exit(0 if report(results) else 1)


def _run(asked: argparse.Namespace, admin: str, cluster: Path, schema: str) -> list[Result]:
    seed = asked.seed if asked.seed is not None else random.randrange(10**6)
    with psycopg.connect(admin) as db:
        only = frozenset(asked.function) if asked.function else None
        found = [*bodies(db, only), *(mutants(db) if only is None else [])]
    done = kept(asked.results, schema)
    chosen = _chosen(found, done, asked.count if only is None else 0, seed)
    if only is not None:
        chosen = found
    print(f"schema {schema}; {len(found)} mutants; trying {len(chosen)}; SEED={seed}", flush=True)
    asked.results.parent.mkdir(parents=True, exist_ok=True)
    judged: dict[str, Result] = {}
    started = time.monotonic()
    with Manager() as manager, asked.results.open("a", encoding="utf-8") as lines:
        places = _places(manager.Queue(), admin, asked.processes)
        pool = ProcessPoolExecutor(
            asked.processes,
            initializer=_begin,
            initargs=(places, cluster, not asked.only_verify, asked.function or ()),
        )
        with pool:
            for fate in pool.map(_work, chosen):
                one = result(fate, schema)
                judged[one.id] = one
                lines.write(json.dumps(asdict(one)) + "\n")
                lines.flush()
                print(
                    "." if one.behaviour else "g" if one.gate else "t" if one.tests else "S",
                    end="", flush=True,
                )  # fmt: skip
                if asked.minutes and time.monotonic() - started > asked.minutes * 60:
                    pool.shutdown(cancel_futures=True)
                    break
    print()
    names = {mutant.name for mutant in found}
    everything = done | judged if asked.count == 0 and only is None else judged
    results = [one for one in everything.values() if one.id in names]
    if asked.record:
        by = "without test files" if asked.only_verify else "with the test files"
        write_record(results, f"{len(results)} of {len(found)} mutants, seed {seed}, {by}")
    return results


def _places(places: Queue[str], admin: str, count: int) -> Queue[str]:
    """A database for each process."""
    with psycopg.connect(admin.replace("/neurant?", "/postgres?"), autocommit=True) as db:
        for number in range(count):
            db.execute(f"create database m{number} template neurant".encode())
            places.put(admin.replace("/neurant?", f"/m{number}?"))
    return places


if __name__ == "__main__":
    main()
