"""The committed expectations.

``tables.toml`` says who may do what on which rows, ``grants.txt`` on which columns;
``functions.txt`` who may call which function; ``constraints.txt`` which references, unique indexes
and triggers exist.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from neurant.verify.catalog import ForeignKey, Trigger, Unique
from neurant.verify.exceptions import VISITED
from neurant.verify.principals import KEYS, STAFF, Principal
from neurant.verify.rows import OTHER, OWN, ROW_SETS

FOLDER = Path(__file__).parent
OPERATIONS = ("select", "insert", "update", "delete")
GROUPS: Mapping[str, tuple[str, ...]] = {
    "people": STAFF,
    "staff": (*STAFF, *KEYS),
    "leads": (*STAFF[:3], *KEYS),
    "lead_people": STAFF[:3],
    "managers": (*STAFF[:2], KEYS[0]),
    "manager_people": STAFF[:2],
    "keys": KEYS,
}
_PERSON = {row_set.name: row_set.person for row_set in ROW_SETS}


@dataclass(frozen=True)
class Expectation:
    """The expectations of one table: a scope by (operation, principal).

    ``platform``: no company owns its rows.
    """

    scopes: Mapping[tuple[str, str], str]
    platform: bool = False

    def scope(self, operation: str, principal: str) -> str:
        """Return the scope, ``none`` without an entry."""
        return self.scopes.get((operation, principal), "none")


@lru_cache(maxsize=1)
def tables() -> Mapping[str, Expectation]:
    """Return the committed expectations by table."""
    written = tomllib.loads((FOLDER / "tables.toml").read_text("utf-8"))
    return {name: _expectation(entry) for name, entry in written.items()}


def _expectation(entry: Mapping[str, object]) -> Expectation:
    scopes = {}
    for operation in OPERATIONS:
        for part in filter(None, str(entry.get(operation, "")).split(",")):
            who, _, scope = part.partition(":")
            for name in GROUPS.get(who.strip(), (who.strip(),)):
                scopes[operation, name] = scope.strip()
    return Expectation(scopes, bool(entry.get("platform", False)))


def reach(scope: str, principal: Principal, tags: frozenset[str]) -> frozenset[str]:
    """Return the rows (by the name of their row set, person or company) of a scope."""
    return frozenset().union(*(_reach(one.strip(), principal, tags) for one in scope.split("+")))


def _reach(scope: str, principal: Principal, tags: frozenset[str]) -> frozenset[str]:
    own = frozenset(tag for tag in tags if not tag.startswith(OTHER))
    named = {
        "none": frozenset[str](),
        "all": tags,
        "company": own,
        "bots": frozenset({"operador"}),
        "conversations": frozenset({"operador", "lent"}),
        "shared": frozenset({"former"}),
        "visit": frozenset({VISITED}),
        "self": frozenset(tag for tag in own if _PERSON.get(tag, tag) == principal.person),
        OWN: own,
    }
    return named.get(scope, frozenset({scope})) & tags


@lru_cache(maxsize=1)
def grants() -> Mapping[tuple[str, str, str], frozenset[str]]:
    """Return the committed grants: columns (or ``*``) by (table, role, operation)."""
    found: dict[tuple[str, str, str], frozenset[str]] = {}
    for line in _lines("grants.txt"):
        table, role, operation, columns = line.split(maxsplit=3)
        found[table, role, operation] = frozenset(columns.split(","))
    return found


@dataclass(frozen=True)
class Constraints:
    """The committed constraints of one table."""

    references: list[ForeignKey] = field(default_factory=list)
    uniques: list[Unique] = field(default_factory=list)
    triggers: list[Trigger] = field(default_factory=list)


@lru_cache(maxsize=1)
def constraints() -> Mapping[str, Constraints]:
    """Return the committed references, unique indexes and triggers by table."""
    found: dict[str, Constraints] = defaultdict(Constraints)
    for line in _lines("constraints.txt"):
        table, kind, name, rest = line.split(maxsplit=3)
        if kind == "reference":
            columns, _, target = rest.partition(" -> ")
            there, _, target_columns = target.partition(" ")
            key = ForeignKey(name, table, _words(columns), there, _words(target_columns))
            found[table].references.append(key)
        elif kind == "trigger":
            state, _, definition = rest.partition(": ")
            found[table].triggers.append(Trigger(name, definition, "O" if state == "on" else "D"))
        elif not rest.startswith("(expression)"):
            columns, _, predicate = rest.partition(" where ")
            unique = Unique(name, _words(columns), kind == "primary", predicate or None)
            found[table].uniques.append(unique)
    return found


def _words(columns: str) -> tuple[str, ...]:
    return tuple(columns.split(","))


def _lines(name: str) -> Iterator[str]:
    for line in (FOLDER / name).read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            yield line


@lru_cache(maxsize=1)
def functions() -> Mapping[str, frozenset[str]]:
    """Return the committed list of who may execute each function, by signature."""
    found: dict[str, frozenset[str]] = {}
    for line in _lines("functions.txt"):
        signature, _, rest = line.partition(" | ")
        found[signature] = frozenset(rest.rpartition("|")[2].split())
    return found
