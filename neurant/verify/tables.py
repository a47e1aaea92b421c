"""Checks of rows: who sees, inserts, changes and deletes which rows of both companies."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from psycopg import sql
from psycopg.types.json import Jsonb

from neurant.verify import expectations
from neurant.verify.catalog import Column, Connection, Table
from neurant.verify.checks import Check, Judge, Verdict, refused
from neurant.verify.principals import Principal, Stranger
from neurant.verify.probe import Identity, Outcome, Probe
from neurant.verify.references import exactly
from neurant.verify.rows import OTHER, OWN, ROW_SETS, Fixture, Row, RowSet, compose, insert

_AREA = "rows"


@dataclass(frozen=True)
class Scene:
    """A table and a principal, with the table's rows by tag (row set, person or company)."""

    connection: Connection
    fixture: Fixture
    table: Table
    principal: Principal

    @property
    def rows(self) -> dict[str, Row]:
        """Return the table's rows by tag."""
        return self.fixture.rows[self.table.name]

    def expected(self, operation: str) -> frozenset[str]:
        """Return the tags of the rows in the principal's scope."""
        entry = expectations.tables()[self.table.name]
        scope = entry.scope(operation, self.principal.name)
        tags = frozenset(self.rows)
        if operation == "insert":
            tags = frozenset(row_set.name for row_set in ROW_SETS)
        return expectations.reach(scope, self.principal, tags)

    def columns(self, operation: str) -> list[str]:
        """Return the columns on which the principal's role has the operation, by the database."""
        granted = self.table.granted(self.principal.identity.role, operation)
        return [c.name for c in self.table.columns.values() if c.name in granted and _ours(c)]


def of_both(fixture: Fixture, table: Table) -> sql.Composed:
    """Return a condition that restricts a statement to the two companies.

    It keeps the rows of a live database out.
    """
    return sql.SQL("{} in ({})").format(
        sql.Identifier(table.company or ""),
        sql.SQL(", ").join(sql.Literal(id_) for id_ in fixture.companies.values()),
    )


def select_all(fixture: Fixture, table: Table) -> sql.Composed:
    """Return a query for company and key of every visible row, as one JSON array."""
    columns = [table.company or "", *table.key]
    return sql.SQL(
        "select coalesce(jsonb_agg(jsonb_build_array({})), '[]') from {} where {}"
    ).format(sql.SQL(", ").join(map(sql.Identifier, columns)), table.sql, of_both(fixture, table))


def row_checks(scene: Scene) -> Iterator[Check]:
    """Yield the checks of every operation of one principal on the rows of one table."""
    yield _select_check(scene)
    for row_set in ROW_SETS if scene.columns("insert") else ():
        yield _insert_check(scene, row_set)
    for operation in ("update", "delete"):
        changes = scene.columns(operation)
        for tag in scene.rows if changes else ():
            yield _change_check(scene, operation, tag, changes)
    for operation in ("insert", "update", "delete"):
        if not scene.columns(operation):
            yield _no_grant_check(scene, operation)


def _check(
    scene: Scene, operation: str, condition: str, expected: str, probe: Probe, judge: Judge
) -> Check:
    return Check(
        _AREA, scene.principal.name, scene.table.name, operation, condition, expected,
        (probe,), judge,
    )  # fmt: skip


def _select_check(scene: Scene, before: tuple[sql.Composed, ...] = ()) -> Check:
    expected = scene.expected("select")
    table = scene.table
    tags = {tuple(str(row[name]) for name in table.key): tag for tag, row in scene.rows.items()}
    rival = str(scene.fixture.companies[OTHER])

    def judge(outcomes: Sequence[Outcome]) -> Verdict:
        [outcome] = outcomes
        if outcome.state is not None:
            return outcome.summary, outcome.denied and not expected
        shown = {
            tags.get(tuple(map(str, key)), OTHER if str(company) == rival else "")
            for company, *key in outcome.value
        }
        shown.discard("")  # rows of the own company that triggers inserted
        return _names(shown), shown == expected

    statement = select_all(scene.fixture, table)
    probe = Probe(scene.principal.identity, statement, fetch=True, before=before)
    return _check(scene, "select", "all rows", _names(expected), probe, judge)


def _insert_check(scene: Scene, row_set: RowSet) -> Check:
    allowed = row_set.name in scene.expected("insert")
    only = scene.columns("insert")
    row = compose(scene.connection, scene.fixture, scene.table, row_set, only)
    probe = Probe(scene.principal.identity, insert(scene.table, row))
    return _allowed_check(scene, "insert", row_set.name, allowed, probe)


def _allowed_check(scene: Scene, operation: str, tag: str, allowed: bool, probe: Probe) -> Check:
    """Return a check that the probe works, or that it is refused."""
    whose = "other company" if tag.startswith(OTHER) else "own company"
    expected, judge = ("allowed", _can) if allowed else ("refused", refused)
    return _check(scene, operation, f"{whose}: {tag}", expected, probe, judge)


def _change_check(scene: Scene, operation: str, tag: str, columns: list[str]) -> Check:
    allowed = tag in scene.expected(operation)
    row = scene.rows[tag]  # the known values, because a writable column may be unreadable
    place = exactly(scene.table, row)
    if operation == "delete":
        statement = sql.SQL("delete from {} where {}").format(scene.table.sql, place)
    else:
        same = sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), _literal(row.get(name), scene, name))
            for name in columns
        )
        statement = sql.SQL("update {} set {} where {}").format(scene.table.sql, same, place)
    return _allowed_check(
        scene, operation, tag, allowed, Probe(scene.principal.identity, statement)
    )


def _literal(value: object, scene: Scene, name: str) -> sql.Composable:
    if scene.table.columns[name].type == "jsonb" and value is not None:
        value = Jsonb(value)
    return sql.Literal(value)


def _no_grant_check(scene: Scene, operation: str) -> Check:
    """Return a check that nothing is expected without a grant, and that the attempt is refused."""
    expected = scene.expected(operation)
    table, first = scene.table, next(iter(scene.table.columns))
    statement = {
        "insert": sql.SQL("insert into {0} select * from {0} where {1}"),
        "update": sql.SQL("update {0} set {2} = {2} where {1}"),
        "delete": sql.SQL("delete from {0} where {1}"),
    }[operation].format(table.sql, of_both(scene.fixture, table), sql.Identifier(first))

    def judge(outcomes: Sequence[Outcome]) -> Verdict:
        found, ok = refused(outcomes)
        return found, ok and not expected

    probe = Probe(scene.principal.identity, statement)
    return _check(scene, operation, "all rows", _names(expected), probe, judge)


def view_check(scene: Scene) -> Check:
    """Return a check of whose rows a view shows: nobody's, the own company's, or everybody's."""
    scope = expectations.tables()[scene.table.name].scope("select", scene.principal.name)
    own, rival = (str(scene.fixture.companies[name]) for name in (OWN, OTHER))
    allowed = {"none": set(), "all": {own, rival}}.get(scope, {own})
    company = sql.Identifier(scene.table.company or "")
    statement = sql.SQL("select coalesce(jsonb_agg(distinct {0}), '[]') from {1} where {2}").format(
        company, scene.table.sql, of_both(scene.fixture, scene.table)
    )

    def judge(outcomes: Sequence[Outcome]) -> Verdict:
        [outcome] = outcomes
        if outcome.state is not None:
            return outcome.summary, outcome.denied and not allowed
        names = {own: "own company", rival: OTHER}
        return _names({names[one] for one in outcome.value}), set(outcome.value) == allowed

    probe = Probe(scene.principal.identity, statement, fetch=True)
    shown = "nothing" if scope == "none" else scope
    return _check(scene, "select", "whose rows", shown, probe, judge)


def sweep_checks(scene: Scene) -> Iterator[Check]:
    """Yield UPDATE and DELETE without WHERE, which may reach only own rows.

    No select policy limits such a statement.
    """
    table, identity = scene.table, scene.principal.identity
    if identity.role not in ("authenticated", "visitor", "neurant_worker"):
        return
    own = sql.SQL("select to_jsonb(count(*)) from {} where {} = {}").format(
        table.sql, sql.Identifier(table.company or ""), sql.Literal(scene.fixture.companies[OWN])
    )
    for operation in ("update", "delete"):
        changes = scene.columns(operation)
        if not changes:
            continue
        statement = sql.SQL("delete from {}").format(table.sql)
        if operation == "update":
            statement = sql.SQL("update {} set {}").format(table.sql, _harmless(scene, changes))
        reach = scene.expected(operation)
        probes = (Probe(identity, statement), Probe(Identity("none"), own, fetch=True))
        yield Check(
            _AREA, scene.principal.name, table.name, operation, "without WHERE",
            f"own rows only, {_names(reach)}", probes, _at_most(scene, reach),
        )  # fmt: skip


def _at_most(scene: Scene, reach: frozenset[str]) -> Judge:
    made = sum(not tag.startswith(OTHER) for tag in scene.rows)

    def judge(outcomes: Sequence[Outcome]) -> Verdict:
        changed, own = outcomes
        if changed.state is not None:
            # A refusal although there are own rows means that the statement reached other rows.
            # Only a row with referencing rows (23503) may stop it, and it must be an own one.
            return changed.summary, changed.state == "23503" if reach else changed.denied
        limit = len(reach) if own.value == made else own.value if reach else 0
        return f"{changed.value} rows", changed.value <= limit

    return judge


def _harmless(scene: Scene, names: list[str]) -> sql.Composable:
    """Return a change that any number of rows can take."""
    unique = {name for one in scene.table.uniques for name in one.columns}
    linked = {name for key in scene.table.keys for name in key.columns}
    columns = [scene.table.columns[name] for name in names if name not in unique | linked]
    columns.sort(key=lambda column: (column.filled != "default", column.required))
    column = columns[0] if columns else scene.table.columns[names[0]]
    name = sql.Identifier(column.name)
    if column.filled == "default" or not column.required:
        return sql.SQL("{} = default").format(name)
    value = next(iter(scene.rows.values()))[column.name]
    return sql.SQL("{} = {}").format(name, _literal(value, scene, column.name))


def stranger_checks(scene: Scene, stranger: Stranger) -> Iterator[Check]:
    """Yield checks that a principal with invalid claims sees and changes nothing."""
    fixture, table = scene.fixture, scene.table
    role = stranger.identity.role
    tries = []
    if stranger.reads and table.name in fixture.rows and table.name in expectations.tables():
        who = Principal(stranger.reads, stranger.identity, stranger.reads.removeprefix("key_"))
        reading = _select_check(replace(scene, principal=who), stranger.before)
        yield replace(reading, principal=stranger.name, condition="stranger")
    else:
        tries.append(("select", select_all(fixture, table), True))
    granted = table.granted(role, "update")
    changing = [c.name for c in table.columns.values() if c.name in granted and _ours(c)]
    if changing:
        same = sql.SQL(", ").join(
            sql.SQL("{} = default").format(sql.Identifier(n)) for n in changing
        )
        update = sql.SQL("update {} set {} where {}").format(
            table.sql, same, of_both(fixture, table)
        )
        tries.append(("update", update, False))
    if table.granted(role, "delete"):
        delete = sql.SQL("delete from {} where {}").format(table.sql, of_both(fixture, table))
        tries.append(("delete", delete, False))
    if adding := table.granted(role, "insert"):
        row_set = ROW_SETS[0]
        row = compose(scene.connection, fixture, table, row_set, set(adding))
        tries.append(("insert", insert(table, row), False))
    for operation, statement, fetch in tries:
        probe = Probe(stranger.identity, statement, fetch, stranger.before)
        yield Check(
            _AREA, stranger.name, table.name, operation, "stranger", "refused", (probe,), _nothing
        )


def _nothing(outcomes: Sequence[Outcome]) -> Verdict:
    [outcome] = outcomes
    if outcome.state == "22P02":  # an empty company is no uuid, so nothing is read
        return "refused", True
    return refused(outcomes)


def _can(outcomes: Sequence[Outcome]) -> Verdict:
    [outcome] = outcomes
    if outcome.state is None:
        return ("allowed", True) if outcome.value else ("nothing", False)
    # A duplicate (23505), a referencing row (23503) and a closed matter (NA001) are errors that
    # only a caller with the right can reach.
    return outcome.summary, outcome.state in ("23503", "23505", "NA001")


def _ours(column: Column) -> bool:
    return column.filled != "database"


def _names(tags: Collection[str]) -> str:
    return " ".join(sorted(tags)) or "nothing"
