"""Effects of triggers, also for callers who lack the right to do the trigger's work by hand.

``effects.toml`` has one case per trigger: a caller does something allowed, and a query checks the
effect. ``{table.column}`` is the value in that person's row set.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from psycopg import sql

from neurant.verify.catalog import Catalog
from neurant.verify.checks import Check, Judge, Verdict
from neurant.verify.expectations import FOLDER, constraints
from neurant.verify.principals import Principal
from neurant.verify.probe import Identity, Outcome, Probe
from neurant.verify.references import exactly
from neurant.verify.rows import Fixture, filled

_TOUCHED = "update_updated_at_column"  # every table has a check of its own for it


@lru_cache(maxsize=1)
def trigger_cases() -> tuple[Mapping[str, Any], ...]:
    """Return the committed cases."""
    written = tomllib.loads((FOLDER / "effects.toml").read_text("utf-8"))
    return tuple(written["effect"])


@lru_cache(maxsize=1)
def families() -> tuple[Mapping[str, Any], ...]:
    """Return the committed cases for triggers of many tables."""
    written = tomllib.loads((FOLDER / "effects.toml").read_text("utf-8"))
    return tuple(written["family"])


def triggers_without_case(catalog: Catalog) -> list[str]:
    """Return our triggers without a case."""
    told = {trigger for case in trigger_cases() for trigger in case["triggers"]}
    return [
        f"{table.name} {trigger.name}"
        for table in catalog.tables.values()
        for trigger in table.triggers
        if f"{table.name} {trigger.name}" not in told
        and not any(re.fullmatch(family["triggers"], trigger.name) for family in families())
        and not table.name.startswith("jobs.")  # these belong to the job library
        and _TOUCHED not in trigger.definition
    ]


def effect_checks(
    fixture: Fixture, principals: Sequence[Principal], only: frozenset[str] | None
) -> Iterator[Check]:
    """Yield the check of every case, and of every updated_at."""
    by_name = {principal.name: principal for principal in principals}
    by_name["administrator"] = Principal("administrator", Identity("none"))
    for case in trigger_cases():
        triggers = case["triggers"]
        tables = {trigger.split()[0] for trigger in triggers}
        who = by_name.get(case["as"])
        if who is None or (only is not None and not tables & only):
            continue
        row_set = case.get("row_set", who.person or "owner")
        then = case.get("then")
        after = filled(fixture, f"select to_jsonb(({then}))", row_set) if then else None
        before = tuple(filled(fixture, given, row_set) for given in [case.get("given")] if given)
        probe = Probe(
            who.identity, filled(fixture, case["do"], row_set), before=before, after=after
        )
        yield Check(
            "effects", who.name, ", ".join(triggers), case["do"].split()[0], case["why"],
            "follows" if then else "refused", (probe,),
            _follows if then else _refused_with(case["refused"]),
        )  # fmt: skip
    for name, rows in fixture.rows.items():
        if only is None or name in only:
            yield from _touched_check(fixture, name, rows)


def _follows(outcomes: Sequence[Outcome]) -> Verdict:
    [outcome] = outcomes
    if outcome.state is not None:
        return outcome.summary, False
    return ("follows", True) if outcome.value is True else (f"does not: {outcome.value}", False)


def _refused_with(state: str) -> Judge:
    def judge(outcomes: Sequence[Outcome]) -> Verdict:
        [outcome] = outcomes
        # An error that the trigger raises has no constraint name.
        return outcome.summary, outcome.state == state and not outcome.constraint

    return judge


def _touched_check(fixture: Fixture, name: str, rows: Mapping[str, Any]) -> Iterator[Check]:
    table = fixture.catalog.tables.get(name)
    if table is None or not any(
        trigger.name == "set_updated_at" for trigger in constraints()[name].triggers
    ):
        return
    row = next(iter(rows.values()), None)
    if row is None:
        return
    place = exactly(table, row)
    # Some triggers keep a given updated_at, so the second update gives none.
    old = sql.SQL("update {} set updated_at = '2026-01-01' where {}").format(table.sql, place)
    touch = sql.SQL("update {} set updated_at = updated_at where {}").format(table.sql, place)
    after = sql.SQL("select to_jsonb(updated_at = now()) from {} where {}").format(table.sql, place)
    yield Check(
        "effects", "administrator", f"{name} set_updated_at", "update", "updated_at",
        "follows", (Probe(Identity("none"), touch, before=(old,), after=after),), _follows,
    )  # fmt: skip
