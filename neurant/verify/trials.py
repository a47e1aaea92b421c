"""Oracles as cells: each trial runs, and the record, the cases and two rules judge it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from neurant.verify.catalog import Connection
from neurant.verify.checks import Cell
from neurant.verify.oracle import SWEEPING, Attempt, attempts, definers, unknown_arguments
from neurant.verify.principals import KEYS, STAFF, principals, strangers
from neurant.verify.recorded import Key, Record, recorded
from neurant.verify.rows import OTHER, OWN, Fixture
from neurant.verify.symbols import Symbols
from neurant.verify.watch import Result, try_watched, watched
from neurant.verify.writes import writes

_AREA = "oracles"
_SHOWN = 60  # characters before the first difference of two lines
_OF_ONE_COMPANY = {*STAFF, *KEYS, "visitor", "worker"}
_OTHERS = re.compile(rf"\b{OTHER}\b")
_OTHERS_ROW = re.compile(rf"^[-+~] \S+ <?{OTHER}\b")
_ROW = re.compile(r"<[^<>]*>")
# These functions store their arguments in a row of the own company, even a foreign id or digest.
_ECHOES = {
    "private.note_denied(text, text, uuid)",
    "private.begin_idempotent(bytea, bytea)",
}
# These functions return a number of a sequence.
_NUMBERED = {"private.defer_job(text, jsonb)"}


@dataclass(frozen=True)
class Stage:
    """The environment of the trials. ``alone``: the database has only the two fixture companies."""

    connection: Connection
    fixture: Fixture
    symbols: Symbols
    since: str
    worker_login: bool
    alone: bool


def _all(stage: Stage, only: frozenset[str] | None) -> Iterator[Attempt]:
    asking = principals(stage.fixture, worker_login=stage.worker_login)
    outside = list(strangers(stage.fixture, worker_login=stage.worker_login))
    for function in definers(stage.fixture.catalog, only):
        for attempt in attempts(stage.fixture, function, asking, outside):
            if attempt.caller != SWEEPING or stage.alone:
                yield attempt
    owner = next(one for one in asking if one.name == "owner")
    for table in stage.fixture.catalog.tenant_tables():
        if (only is None or table.name in only) and table.name in stage.fixture.rows:
            yield from writes(stage.connection, stage.fixture, table, owner)


def _outcomes(
    stage: Stage, only: frozenset[str] | None
) -> Iterator[tuple[Attempt, Result, tuple[str, ...]]]:
    queries = watched(stage.fixture.catalog, stage.fixture.companies.values(), stage.since)
    waiting: list[Attempt] = []

    def run_waiting() -> Iterator[tuple[Attempt, Result, tuple[str, ...]]]:
        found = try_watched(stage.connection, queries, [one.trial for one in waiting])
        for attempt, (_, result) in zip(waiting, found, strict=True):
            if attempt.function in _NUMBERED and result.state is None and result.value:
                result = replace(result, value=["a number"])
            yield attempt, result, tuple(stage.symbols.lines(result))
        waiting.clear()

    for attempt in _all(stage, only):
        waiting.append(attempt)
        if len(waiting) == 200:
            yield from run_waiting()
    yield from run_waiting()


def left_out(stage: Stage) -> int:
    """Return how many functions are not tried because they would read the real companies too."""
    if stage.alone:
        return 0
    return sum(
        "neurant_jobs" in function.execute for function in definers(stage.fixture.catalog, None)
    )


def record(stage: Stage) -> Record:
    """Return the present outcome of every trial."""
    return {_key(attempt): lines for attempt, _, lines in _outcomes(stage, None)}


def _key(attempt: Attempt) -> Key:
    return attempt.function, attempt.condition, attempt.caller


def oracle_cells(stage: Stage, only: frozenset[str] | None) -> Iterator[Cell]:
    """Yield a cell for every trial of these functions, and for each argument without an entry."""
    for function in definers(stage.fixture.catalog, only):
        for name in unknown_arguments(function):
            yield Cell(
                _AREA, "", function.signature, "call", name, "known argument",
                f"what is {name} called with? say it in oracles/arguments.toml", False,
                "argument",
            )  # fmt: skip
    tried = set()
    for attempt, result, lines in _outcomes(stage, only):
        tried.add(_key(attempt))
        yield from judged(attempt, result, lines)
    if only is None and stage.alone and stage.worker_login:
        for function_, condition, caller in recorded().keys() - tried:
            yield Cell(
                _AREA, caller, function_, "call", condition, "tried",
                "recorded, but no longer tried: run make schema", False,
                "untried",
            )  # fmt: skip


def judged(attempt: Attempt, result: Result, lines: tuple[str, ...]) -> Iterator[Cell]:
    """Yield the cells of one trial: by the record, the two rules and its case."""

    def cell(expected: str, found: str, ok: bool) -> Cell:
        return Cell(
            _AREA, attempt.caller, attempt.function, "call", attempt.condition, expected, found, ok
        )

    known = recorded().get(_key(attempt))
    if known is None:
        told = "not recorded: run make schema and read the difference"
        yield replace(cell("recorded", told, False), undeclared="record")
    else:
        expected, found = _difference(known, lines)
        yield cell(expected, found, known == lines)
    if not attempt.standing:
        named = [line for line in lines if line[0] in "+-~" or _ROW.search(line)]
        yield cell("nothing given or changed", named[0] if named else "nothing", not named)
    if attempt.caller in _OF_ONE_COMPANY:
        others = _OTHERS_ROW if attempt.function in _ECHOES else _OTHERS
        theirs = [line for line in lines if line[0] != "x" and others.search(line)]
        yield cell(f"nothing of {OTHER}", theirs[0] if theirs else f"only {OWN}", not theirs)
    if attempt.why and result.broken:
        yield cell("a case that can run", result.broken, False)
    elif attempt.why:
        yield from _case(attempt, result, cell)


def _difference(known: Sequence[str], lines: Sequence[str]) -> tuple[str, ...]:
    """Return the first differing lines, or the result if all lines are equal."""
    gone = [line for line in known if line not in lines]
    come = [line for line in lines if line not in known]
    if not gone and not come:
        return known[0], lines[0]
    first, second = (gone or ["no such line"])[0], (come or ["no such line"])[0]
    pairs = zip(first, second, strict=False)
    alike = next((n for n, (one, other) in enumerate(pairs) if one != other), 0)
    start = 0 if alike < _SHOWN else alike - _SHOWN // 2
    dots = "…" if start else ""
    return tuple(dots + line[start : start + 4 * _SHOWN] for line in (first, second))


def _case(attempt: Attempt, result: Result, cell: object) -> Iterator[Cell]:
    assert callable(cell)  # noqa: S101
    if attempt.refused is not None:
        yield cell(f"refused {attempt.refused}", f"{result.state}", result.state == attempt.refused)
        return
    if attempt.trial.gives is not None:
        expected, found = _plain(result.expected), _plain(result.value)
        yield cell(f"{expected}", f"{result.state or found}", expected == found)
    if attempt.trial.then is not None:
        yield cell("follows", f"{result.state or result.then}", result.then is True)


def _plain(rows: object) -> list[str]:
    """Return rows without the names of their columns, in any order."""
    listed: Iterable[object] = rows if isinstance(rows, list) else []
    return sorted(
        str(list(row.values()) if isinstance(row, dict) else [_sorted(row)]) for row in listed
    )


def _sorted(value: object) -> object:
    return sorted(map(str, value)) if isinstance(value, list) else value
