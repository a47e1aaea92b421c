"""A new value for any column, of its type and within its check constraints.

A check constraint is not parsed: the first plausible value that the database accepts is used.
"""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from neurant.verify.catalog import Column, Connection, Table, quoted

Maker = Callable[[int], Any]
MARK = f"verify-{secrets.token_hex(5)}"  # part of every text, so that none equals a live one

_TEXTS: tuple[Maker, ...] = (
    lambda n: f"{MARK}-{n}",
    lambda n: f"{MARK}-{n}@neurant.example",
    lambda n: f"https://neurant.example/{MARK}/{n}",
    lambda n: f"{MARK}-{n}.neurant.example",
    lambda n: "abcdefghijklmnopqrst"[n % 20] + "_verify",
    lambda n: "UTC",
    lambda n: "es",
    lambda n: f"{n:064x}",
)
_OTHERS: dict[str, tuple[Maker, ...]] = {
    "uuid": (lambda n: None,),
    "boolean": (lambda n: False, lambda n: True),
    "jsonb": (lambda n: Jsonb({}), lambda n: Jsonb([])),
    "bytea": (lambda n: secrets.token_bytes(32), lambda n: secrets.token_bytes(16)),
    "inet": (lambda n: "192.0.2.1",),
    "interval": (lambda n: "1 day",),
    "date": (lambda n: f"{2000 + n % 90}-01-{1 + n % 28:02}",),
    "extensions.vector": (lambda n: None,),
}
_NUMBERS: tuple[Maker, ...] = (
    lambda n: n,
    lambda n: 1 + n % 7,
    lambda n: 1,
    lambda n: 0,
    lambda n: -1,
)


def makers(column: Column) -> tuple[Maker, ...]:
    """Return plausible values for a column, before its constraints are tried."""
    if column.labels:
        return tuple((lambda n, label=label: label) for label in column.labels)
    if column.type.endswith("[]"):
        return (lambda n: "{}", lambda n: "{verify}", lambda n: f"{{{uuid.uuid4()}}}")
    if column.type.startswith("timestamp"):
        return (lambda n: "2026-01-01 12:00+00", lambda n: "2099-01-01 12:00+00")
    if column.type in ("integer", "bigint", "smallint", "numeric", "double precision"):
        return _NUMBERS
    return _OTHERS.get(column.type, _TEXTS)


def find_maker(connection: Connection, table: Table, column: Column) -> Maker:
    """Return the first kind of value that the column's own check constraints accept."""
    checks = [check for columns, check in table.checks if columns == (column.name,)]
    found = makers(column)
    literals = [text for check in checks for text in re.findall(r"'([^']+)'::", check)]
    if not column.labels and found is _TEXTS:
        found = (*found, *((lambda n, text=text: text) for text in literals))
    if not checks and column.length is None:
        return found[0]
    name = sql.Identifier(column.name)
    fits = sql.SQL(" and ").join(
        [sql.SQL("({})").format(quoted(check)) for check in checks]
        + [sql.SQL("length({}::text) <= {}").format(name, column.length or 10**6)]
    )
    for maker in found:
        asked = sql.SQL("select bool_and({}) from (values ({}::{}), ({})) candidate ({})").format(
            fits,
            sql.Literal(maker(7)),
            quoted(column.type),
            sql.Literal(maker(5000)),
            name,
        )
        try:
            with connection.transaction():
                answer = connection.execute(asked).fetchone()
        except psycopg.Error:
            continue
        if answer and answer[0]:
            return maker
    return found[0]
