"""Rows of two fixture companies in every table, derived from the catalog alone.

Each company has one person per role and a few more. The rows form *row sets*: one row in every
table, all connected (a bot, its channel, a conversation, its messages…) and belonging to one
person. A scope is then a set of row sets. A new table gets its rows by itself: foreign keys are
followed, and required columns get a plausible value; ``exceptions.py`` holds the few columns for
which that is not enough.
"""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from neurant.verify import exceptions
from neurant.verify.catalog import Catalog, Connection, ForeignKey, Table, quoted
from neurant.verify.values import MARK, Maker, find_maker

OWN, OTHER = "acme", "rival"
PEOPLE = {  # the name and role of each person of a company
    "owner": "owner",
    "administrador": "administrador",
    "supervisor": "supervisor",
    "operador": "operador",
    "colleague": "operador",
    "inactive": "administrador",
}


@dataclass(frozen=True)
class RowSet:
    """A row set: one row in every table, belonging to one person.

    ``lent``: the operador does not serve its bot, but the conversation is assigned to that
    operador. ``former``: the operador no longer serves its bot.
    """

    name: str
    company: str
    person: str


ROW_SETS = (
    RowSet("owner", OWN, "owner"),
    RowSet("administrador", OWN, "administrador"),
    RowSet("supervisor", OWN, "supervisor"),
    RowSet("operador", OWN, "operador"),
    RowSet("colleague", OWN, "colleague"),
    RowSet("lent", OWN, "colleague"),
    RowSet("former", OWN, "supervisor"),
    RowSet("rival", OTHER, "owner"),
    RowSet("rival-twin", OTHER, "operador"),
)
# The other company's twin has the ids of this row set: a join by an id without the company returns
# the twin's row, too.
TWIN_OF = {"rival-twin": "operador"}
Row = dict[str, Any]
_BECOME: LiteralString = (
    "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)"
)


@dataclass
class Fixture:
    """The fixture: all rows by table and row set (or person, or company), and the missing ones."""

    catalog: Catalog
    companies: dict[str, uuid.UUID] = field(default_factory=dict)
    people: dict[tuple[str, str], Row] = field(default_factory=dict)
    logins: dict[tuple[str, str], uuid.UUID] = field(default_factory=dict)
    rows: dict[str, dict[str, Row]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    makers: dict[tuple[str, str], Maker] = field(default_factory=dict)
    scopes: list[str] = field(default_factory=list)  # all scopes that a key may have
    backend: int = 0  # the pid of the server process that inserts the rows
    serials: Iterable[int] = field(default_factory=lambda: itertools.count(1))

    def serial(self) -> int:
        """Return a number that no other row has."""
        return next(iter(self.serials))

    def row(self, table: str, row_set: str) -> Row | None:
        """Return the row of a row set in a table; some tables have one row per company."""
        rows = self.rows.get(table, {})
        found = rows.get(row_set)
        if found is None and table == "public.companies":
            return rows.get(next(s.company for s in ROW_SETS if s.name == row_set))
        return found


def make_fixture(connection: Connection, catalog: Catalog) -> Fixture:
    """Insert all rows. Needs a login that bypasses row security and may write every table."""
    fixture = Fixture(catalog, backend=connection.info.backend_pid)
    keys = connection.execute("select name from public.permissions where for_keys = 'by_scope'")
    fixture.scopes = [str(row[0]) for row in keys.fetchall()]
    _make_companies_and_people(connection, fixture)
    todo = [
        table
        for table in catalog.tenant_tables()
        if table.name not in ("public.companies", "public.users")
    ]
    while todo:
        table = _next(todo, fixture)
        todo.remove(table)
        fixture.rows[table.name] = {}
        for row_set in ROW_SETS:
            _make(connection, fixture, table, row_set)
    return fixture


def _next(todo: list[Table], fixture: Fixture) -> Table:
    """Return a table whose references all exist, or in a cycle one whose required references do."""
    waiting = {table.name for table in todo}

    def ready(table: Table, *, only_required: bool) -> bool:
        if exceptions.AFTER.get(table.name, set()) & waiting:
            return False
        return not any(
            key.target in waiting
            and key.target != table.name
            and (not only_required or all(table.columns[name].required for name in key.columns))
            for key in table.keys
        )

    for only_required in (False, True):
        for table in todo:
            if ready(table, only_required=only_required):
                return table
    return todo[0]


def compose(
    connection: Connection,
    fixture: Fixture,
    table: Table,
    row_set: RowSet,
    only: Collection[str] | None = None,
) -> Row:
    """Return a new row for a row set.

    ``only`` limits its columns to those that a role may insert.
    """
    special = exceptions.values(fixture, table.name, row_set)
    keys = {name: key for key in table.keys for name in key.columns if name != table.company}
    row: Row = {}
    twin = fixture.rows.get(table.name, {}).get(TWIN_OF.get(row_set.name, ""), {}).get("id")
    for column in table.columns.values():
        if column.filled == "database" or (only is not None and column.name not in only):
            continue
        if column.name == "id" and twin is not None and table.key == (table.company, "id"):
            row["id"] = twin
            continue
        if column.name in special:
            if special[column.name] is not exceptions.OMITTED:
                row[column.name] = special[column.name]
        elif column.name == table.company:
            row[column.name] = fixture.companies[row_set.company]
        elif column.name in keys:
            value = _referenced(fixture, table, keys[column.name], column.name, row_set)
            if value is not None:
                row[column.name] = value
        elif column.type == "uuid" and (column.required and column.filled == "us"):
            row[column.name] = uuid.uuid4()
        elif column.required and column.filled == "us":
            row[column.name] = new_value(connection, fixture, table, column.name)
    return row


def _referenced(
    fixture: Fixture, table: Table, key: ForeignKey, column: str, row_set: RowSet
) -> Any:
    """Return the value with which the column references the row set's own row."""
    wanted = key.target_columns[key.columns.index(column)]
    if key.target == "public.users":
        return fixture.people[row_set.company, row_set.person][wanted]
    found = fixture.row(key.target, row_set.name)
    if found is not None and key.target != table.name:
        return found[wanted]
    return None


def new_value(connection: Connection, fixture: Fixture, table: Table, name: str) -> object:
    """Return a value that no row has in that column yet."""
    if table.columns[name].type == "uuid":
        return uuid.uuid4()
    place = (table.name, name)
    if place not in fixture.makers:
        # An archived row can be restored, so it satisfies the checks of the live table.
        live = fixture.catalog.tables.get(table.name.removesuffix("_archived"), table)
        fixture.makers[place] = find_maker(connection, live, table.columns[name])
    value = fixture.makers[place](fixture.serial())
    length = table.columns[name].length
    return value[-length:] if length and isinstance(value, str) else value


def filled(fixture: Fixture, text: str, row_set: str) -> sql.Composed:
    """Return SQL with ``{table.column}`` replaced by the row set's values.

    ``{other:…}`` is replaced by the values of another row set.
    """

    def value(match: re.Match[str]) -> str:
        other, table, column = match.groups()
        row = fixture.row(f"public.{table}", other or row_set)
        if row is None and table == "users":
            row = fixture.rows["public.users"][other or row_set]
        return "{}" if row is None else sql.Literal(row[column]).as_string(None)

    return sql.Composed([quoted(re.sub(r"\{(?:(\w+):)?(\w+)\.(\w+)\}", value, text))])


def insert(table: Table, row: Mapping[str, Any]) -> sql.Composed:
    """Return ``insert into table (…) values (…)`` with literal values."""
    return sql.SQL("insert into {} ({}) values ({})").format(
        table.sql,
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(map(sql.Literal, row.values())),
    )


def _store(
    connection: Connection, table: Table, row: Mapping[str, Any], shown: Iterable[str] = ()
) -> Row:
    """Insert the row; return it as stored, as far as its writer may see it."""
    columns = sorted(shown) or list(table.columns)
    returning = sql.SQL(" returning {}").format(sql.SQL(", ").join(map(sql.Identifier, columns)))
    with connection.cursor(row_factory=dict_row) as cursor:
        stored = cursor.execute(insert(table, row) + returning).fetchone()
        return dict(stored or {})


def _make(connection: Connection, fixture: Fixture, table: Table, row_set: RowSet) -> None:
    """Insert one row, or add the first reason for a failure to ``fixture.missing``."""
    who = exceptions.writer(fixture, table.name, row_set)
    only = table.granted(who.role, "insert") if who else None
    shown = table.granted(who.role, "select") if who else ()
    try:
        with connection.transaction():
            if who:
                connection.execute(_BECOME, (who.role, who.claims))
            row = compose(connection, fixture, table, row_set, only)
            fixture.rows[table.name][row_set.name] = _store(connection, table, row, shown)
            connection.execute(_BECOME, ("none", ""))
    except psycopg.errors.UniqueViolation as error:
        if table.key != (table.company,):  # otherwise the table has one row per company
            fixture.missing.setdefault(table.name, str(error).splitlines()[0])
    except psycopg.Error as error:
        fixture.missing.setdefault(table.name, str(error).splitlines()[0])


def _make_companies_and_people(connection: Connection, fixture: Fixture) -> None:
    tables = fixture.catalog.tables
    companies, users, logins = (
        tables[name] for name in ("public.companies", "public.users", "auth.users")
    )
    fixture.rows["public.companies"] = {}
    fixture.rows["public.users"] = {}
    for company in (OWN, OTHER):
        name = f"{MARK}-{company}"
        row = _store(
            connection,
            companies,
            {
                "name": name,
                "slug": name,
                "email": f"{name}@neurant.example",
                **exceptions.unlimited(companies),
            },
        )
        fixture.companies[company] = row["id"]
        fixture.rows["public.companies"][company] = row
        for person, role in PEOPLE.items():
            email = f"{person}-{name}@neurant.example"
            login = _store(connection, logins, {"id": uuid.uuid4(), "email": email})
            fixture.logins[company, person] = login["id"]
            twin = fixture.people[OWN, person]["id"] if company == OTHER else uuid.uuid4()
            row = _store(
                connection,
                users,
                {
                    "id": twin if person == "operador" else uuid.uuid4(),
                    "company_id": fixture.companies[company],
                    "auth_user_id": login["id"],
                    "email": email,
                    "first_name": person,
                    "last_name": company,
                    "role": role,
                    "is_owner": role == "owner",
                    "is_active": person != "inactive",
                },
            )
            fixture.people[company, person] = row
            fixture.rows["public.users"][person if company == OWN else f"{OTHER}-{person}"] = row
