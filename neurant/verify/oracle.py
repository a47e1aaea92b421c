"""The oracle of every definer: the result for each caller, and the changes of the call.

A *trial* is a function, a caller and a condition: the caller's own row, the other company's row, no
row, or a state of the rows from ``oracles/states.toml`` (a key revoked, a company closed). The
expected outcome is committed, with names in place of ids, in ``oracles/recorded.txt``. The cases in
``oracles/cases/`` state it again and independently, as a query over the tables. Two rules hold for
every trial whatever is recorded: no caller receives or changes anything of the other company, and a
caller without valid claims receives and changes nothing.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from psycopg import sql

from neurant.verify.catalog import Catalog, Connection, Function
from neurant.verify.exceptions import TOKEN, VISITED
from neurant.verify.expectations import FOLDER
from neurant.verify.principals import KEYS, STAFF, Principal, Stranger
from neurant.verify.rows import OTHER, OWN, ROW_SETS, TWIN_OF, Fixture
from neurant.verify.values import MARK
from neurant.verify.watch import Trial

ORACLES = FOLDER / "oracles"
_PLACE = re.compile(r"\{(?:([\w-]+):)?(digest-login|digest )?\s?([a-z_ ]+?)(?:\.(\w+))?\}")
_DIGEST = re.compile(r"\{(?:\w+:)?digest ([a-z_ ]+)\}")
_ROW_SETS = {row_set.name: row_set for row_set in ROW_SETS}
_OF_ROLE = {
    "visitor": ("visitor",),
    "neurant_worker": ("worker",),
    "neurant_app": ("app_login",),
    "neurant_jobs": ("jobs_login",),
    "neurant_router": ("router",),
}
# These callers are tried under every state, the other staff only with unchanged rows.
_IN_STATES = ("owner", "operador", "visitor", "worker", "app_login", "jobs_login", "router")
SWEEPING = "jobs_login"  # the caller whose functions read every company


@dataclass(frozen=True)
class Attempt:
    """A trial with its name: ``function``, ``caller`` and ``condition``."""

    function: str
    caller: str
    condition: str
    trial: Trial
    foreign: bool = False  # whether it names a row of the other company
    standing: bool = True  # False: the caller has no valid claims and must receive nothing
    why: str = ""
    refused: str | None = None


@lru_cache(maxsize=8)
def _read(name: str) -> Mapping[str, Any]:
    return tomllib.loads((ORACLES / name).read_text("utf-8"))


@lru_cache(maxsize=1)
def cases() -> tuple[Mapping[str, Any], ...]:
    """Return the committed cases of every subject."""
    return tuple(
        case
        for file in sorted((ORACLES / "cases").glob("*.toml"))
        for case in tomllib.loads(file.read_text("utf-8")).get("case", [])
    )


def digest(row_set: str, name: str) -> bytes:
    """Return the bytes of ``{digest name}`` for a row set."""
    return hashlib.sha256(f"{MARK} {row_set} {name}".encode()).digest()


def _login(row_set: str, name: str) -> uuid.UUID:
    return uuid.UUID(bytes=digest(row_set, f"login {name}")[:16], version=4)


def fill(fixture: Fixture, text: str, row_set: str) -> str:
    """Return SQL with the placeholders of ``arguments.toml`` replaced by the row set's values."""

    def value(match: re.Match[str]) -> str:
        other, kind, name, column = match.groups()
        tag = other or row_set
        found = _value(fixture, tag, kind, name, column)
        if name in ("mark", "tag"):
            return str(found)
        return sql.Literal(found).as_string(None)

    return _PLACE.sub(value, text)


def _value(fixture: Fixture, tag: str, kind: str | None, name: str, column: str | None) -> object:
    company, person = _home(tag)
    if kind == "digest ":
        return digest(tag, name)
    if kind == "digest-login":
        return _login(tag, name)
    if column is None:
        return {
            "login": fixture.logins[company, person],
            "company": fixture.companies[company],
            "mark": MARK,
            "tag": tag,
            "last_name": company,
            "token": TOKEN,
        }[name]
    if name == "users":
        return fixture.people[company, person][column]
    if name == "auth_sessions":
        row = fixture.row("public.login_sessions", tag) or {}
        return row["auth_session_id" if column == "id" else column]
    found = fixture.row(f"public.{name}", tag)
    if found is None:  # the table has one row per company
        rows = fixture.rows[f"public.{name}"]
        found = next(r for t, r in rows.items() if t.startswith(OTHER) == (company == OTHER))
    return found[column]


def _home(tag: str) -> tuple[str, str]:
    if tag in _ROW_SETS:
        return _ROW_SETS[tag].company, _ROW_SETS[tag].person
    return (OTHER, tag.removeprefix(f"{OTHER}-")) if tag.startswith(OTHER) else (OWN, tag)


def furnish(connection: Connection, fixture: Fixture) -> dict[str, str]:
    """Insert the rows of ``fixtures.toml``; return the names of their values, for the record."""
    names = {}
    for prepared in _read("fixtures.toml")["fixture"]:
        met: set[tuple[str, str]] = set()
        for row_set in ROW_SETS:
            if prepared.get("once_per_person") and (row_set.company, row_set.person) in met:
                continue
            met.add((row_set.company, row_set.person))
            for statement in prepared["do"]:
                connection.execute(fill(fixture, statement, row_set.name).encode())
    told = " ".join(file.read_text("utf-8") for file in ORACLES.rglob("*.toml"))
    tags = [row_set.name for row_set in ROW_SETS]
    for name in set(_DIGEST.findall(told)):
        for tag in tags:
            names["\\x" + digest(tag, name).hex()] = f"digest {name} {tag}"
            names[digest(tag, name).hex()] = f"digest {name} {tag}"
    for name in set(re.findall(r"\{(?:\w+:)?digest-login ([a-z_ ]+)\}", told)):
        for tag in tags:
            names[str(_login(tag, name))] = f"login {name} {tag}"
    return names


def _arguments(function: Function, more: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return (name, type, SQL) of each argument."""
    written = _read("arguments.toml")
    plain = function.name.rpartition(".")[2]
    own = written["functions"].get(plain, {})
    return [
        (name, type_, more.get(name, own.get(name, written["names"].get(name, "null"))))
        for name, type_ in function.arguments
    ]


def unknown_arguments(function: Function) -> list[str]:
    """Return the arguments that ``arguments.toml`` does not describe."""
    written = _read("arguments.toml")
    known = written["names"] | written["functions"].get(function.name.rpartition(".")[2], {})
    return [name for name, _ in function.arguments if name not in known]


def call(
    fixture: Fixture, function: Function, row_set: str, more: Mapping[str, str],
    rival: str = "", nothing: str = "",
) -> str:  # fmt: skip
    """Return the statement that calls a function with the row set's values.

    ``rival`` and ``nothing`` name an argument to replace by one of the other company, or of no row.
    """
    values = _values(fixture, function, row_set, more, rival, nothing)
    return _as_json(f"{function.name}({values})")


def _values(
    fixture: Fixture, function: Function, row_set: str, more: Mapping[str, str],
    rival: str = "", nothing: str = "",
) -> str:  # fmt: skip
    values = []
    for name, type_, told in _arguments(function, more):
        if name == rival:
            told = re.sub(r"\{(?:\w+:)?(?!mark|tag)", "{rival:", told)
        if name == nothing:
            told = _nothing(type_)
        values.append(f"({fill(fixture, told, row_set)})::{type_}")
    return ", ".join(values)


def _as_json(source: str) -> str:
    """Return a query for the rows of a call or of a bracketed query, as one JSON array."""
    # The text comes from the committed files and from quoted literals only.
    return f"select coalesce(jsonb_agg(to_jsonb(r)), '[]') from {source} r"  # noqa: S608


def _nothing(type_: str) -> str:
    one = {
        "uuid": f"'{uuid.uuid4()}'",
        "bytea": "sha256('verify nothing')",
        "uuid[]": f"array['{uuid.uuid4()}']",
        "text[]": "array['verify nothing']",
        "bytea[]": "array[sha256('verify nothing')]",
    }
    return one.get(type_, "'verify nothing'" if type_ in ("text", "inet") else "null")


def _rows_named(function: Function, more: Mapping[str, str]) -> dict[str, set[str]]:
    """Return the tables whose rows each argument names, by argument."""
    found = {}
    for name, _, told in _arguments(function, more):
        tables = {m[1] for m in re.finditer(r"\{(?:\w+:)?(\w+)\.\w+\}", told)}
        tables |= {m[1] for m in re.finditer(r"\{(?:\w+:)?(login|company)\}", told)}
        tables |= {f"digest {m[1]}" for m in _DIGEST.finditer(told) if not m[1].startswith("new ")}
        if tables:
            found[name] = tables
    return found


def callers(function: Function, principals: Sequence[Principal]) -> list[Principal]:
    """Return who may call the function; without callers, its owner, the router."""
    by_name = {principal.name: principal for principal in principals}
    names: list[str] = []
    for role in function.execute:
        names += (*STAFF, *KEYS) if role == "authenticated" else _OF_ROLE.get(role, ())
    return [by_name[name] for name in names or ["router"] if name in by_name]


def row_set_of(principal: Principal) -> str:
    """Return the row set that belongs to a caller."""
    if principal.name in ("visitor", "worker"):
        return VISITED
    return principal.person or "operador"


def attempts(
    fixture: Fixture,
    function: Function,
    principals: Sequence[Principal],
    strangers: Sequence[Stranger],
) -> Iterator[Attempt]:
    """Yield every trial of a function, by the committed arguments, states and cases."""
    asking = callers(function, principals)
    named = _rows_named(function, {})
    for caller in asking:
        yield from _plain(fixture, function, caller, named)
        if caller.name in _IN_STATES:
            yield from _in_states(fixture, function, caller, named)
    yield from _by_strangers(fixture, function, asking, strangers)
    yield from _cases(fixture, function, asking, principals)


def _attempt(
    fixture: Fixture,
    function: Function,
    caller: Principal,
    condition: str,
    statement: str,
    **more: Any,
) -> Attempt:
    given = tuple(fill(fixture, one, row_set_of(caller)) for one in more.pop("given", ()))
    trial = Trial(caller.identity, statement, given)
    return Attempt(function.signature, caller.name, condition, trial, **more)


def _plain(
    fixture: Fixture, function: Function, caller: Principal, named: Mapping[str, set[str]]
) -> Iterator[Attempt]:
    row_set = row_set_of(caller)
    yield _attempt(fixture, function, caller, "own", call(fixture, function, row_set, {}))
    for name in named:
        theirs = call(fixture, function, row_set, {}, rival=name)
        yield _attempt(fixture, function, caller, f"other company's {name}", theirs, foreign=True)
        none = call(fixture, function, row_set, {}, nothing=name)
        yield _attempt(fixture, function, caller, f"unknown {name}", none)


def _in_states(
    fixture: Fixture, function: Function, caller: Principal, named: Mapping[str, set[str]]
) -> Iterator[Attempt]:
    tables: set[str] = set().union(*named.values()) if named else set()
    arguments = {name for name, _ in function.arguments}
    person = caller.person or caller.name in ("visitor", "worker")
    plain = function.name.rpartition(".")[2]
    for state in _read("states.toml")["state"]:
        about = set(state.get("about", ()))
        if person and "caller" in about:
            about |= tables or {"caller"}
            tables = tables or {"caller"}
        if not (about & (tables | arguments) or plain in state.get("functions", ())):
            continue
        given = state["given"]
        if state.get("twin") and row_set_of(caller) in TWIN_OF.values():
            given = [*given, *(_of_twin(one) for one in given)]
        statement = call(fixture, function, row_set_of(caller), state.get("arguments", {}))
        yield _attempt(fixture, function, caller, state["name"], statement, given=given)
        if caller.name == "operador" and not {"caller", "login"} & set(state.get("about", ())):
            yield _attempt(
                fixture, function, caller, f"{state['name']}, and all denied", statement,
                given=[*given, *_denied()],
            )  # fmt: skip


def _of_twin(statement: str) -> str:
    """Return the statement about the twin's rows, which have the same ids in the other company."""
    twin = next(iter(TWIN_OF))
    statement = re.sub(r"\{(\w+):users\.", f"{{{OTHER}-\\1:users.", statement)
    return re.sub(r"\{(?=(?!mark|tag|token)[a-z_]+(?:\.\w+)?\})", f"{{{twin}:", statement)


def _denied() -> list[str]:
    states = _read("states.toml")["state"]
    return next(one["given"] for one in states if one["name"] == "everything denied to the caller")


def _by_strangers(
    fixture: Fixture, function: Function, asking: Sequence[Principal], strangers: Sequence[Stranger]
) -> Iterator[Attempt]:
    roles = {caller.identity.role for caller in asking}
    for stranger in strangers:
        if stranger.identity.role not in roles - {"neurant_app", "neurant_jobs"}:
            continue
        row_set = "owner" if stranger.identity.role == "authenticated" else VISITED
        statement = call(fixture, function, row_set, {})
        trial = Trial(
            stranger.identity, statement, tuple(one.as_string(None) for one in stranger.before)
        )
        yield Attempt(
            function.signature, stranger.name, "no standing", trial, standing=bool(stranger.reads)
        )


def _cases(
    fixture: Fixture,
    function: Function,
    asking: Sequence[Principal],
    principals: Sequence[Principal],
) -> Iterator[Attempt]:
    plain = function.name.rpartition(".")[2]
    by_name = {principal.name: principal for principal in principals}
    for case in cases():
        if case["function"] not in (plain, function.signature):
            continue
        names = case.get("as", [caller.name for caller in asking])
        for name in [names] if isinstance(names, str) else names:
            caller = by_name.get(name)
            if caller is None:
                continue
            row_set = case.get("row_set", row_set_of(caller))
            statement = call(fixture, function, row_set, case.get("arguments", {}))
            given = case.get("given", [])
            trial = Trial(
                caller.identity,
                statement,
                tuple(
                    fill(fixture, one, row_set)
                    for one in ([given] if isinstance(given, str) else given)
                ),
                gives=_gives(fixture, function, case, row_set),
                then=_then(fixture, case, row_set),
            )
            yield Attempt(
                function.signature, name, f"case: {case['why']}", trial,
                why=case["why"], refused=case.get("refused"),
            )  # fmt: skip


def _gives(
    fixture: Fixture, function: Function, case: Mapping[str, Any], row_set: str
) -> str | None:
    """Return the query for the expected result, with the function's own column names."""
    if "gives" not in case:
        return None
    if case["gives"] == "nothing":
        return "select '[]'::jsonb"
    shape = f"{function.name}({_values(fixture, function, row_set, case.get('arguments', {}))})"
    asked = fill(fixture, case["gives"], row_set)
    return _as_json(f"(select s.* from {shape} s where false union all ({asked}))")  # noqa: S608


def _then(fixture: Fixture, case: Mapping[str, Any], row_set: str) -> str | None:
    if "then" not in case:
        return None
    return f"select to_jsonb(({fill(fixture, case['then'], row_set)}))"


def definers(catalog: Catalog, only: frozenset[str] | None) -> list[Function]:
    """Return the functions that need an oracle, or those of them that are in ``only``."""
    return [
        function
        for signature, function in sorted(catalog.functions.items())
        if function.definer
        and not function.trigger
        and function.name.startswith("private.")
        and (only is None or signature in only)
    ]
