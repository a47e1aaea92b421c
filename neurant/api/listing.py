"""Lists: pages by cursor, with filters and sorting by documented fields.

A cursor is opaque to its reader. It holds the sort field's value and the id of the last row of the
page. The next page begins after that row, so rows that appear or disappear between two requests
neither repeat nor hide another row.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import Annotated, Any, Generic, LiteralString, TypeVar
from uuid import UUID

import orjson
from psycopg import DataError
from pydantic import BaseModel, ConfigDict, Field

from neurant.core.db.pool import Connection, fetch_all
from neurant.core.errors import NotFoundError

MAX_LIMIT = 200
Row = TypeVar("Row")
Item = TypeVar("Item")
Cursor = Annotated[str, Field(max_length=600, pattern=r"^[A-Za-z0-9_-]+$")]


class ListQuery(BaseModel):
    """The parameters of every list; the query of a list adds its filters and narrows ``sort``."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(
        default=50, ge=1, le=MAX_LIMIT, description="Maximum number of rows in a page"
    )
    cursor: Cursor | None = Field(
        default=None,
        description="The next_cursor of the previous page; without it the first page is returned",
    )


class Page(BaseModel, Generic[Item]):
    """One page of a list."""

    data: list[Item] = Field(description="The rows of this page, in the requested order")
    next_cursor: str | None = Field(
        description="Cursor of the next page; null: this is the last page"
    )


@dataclass(frozen=True, slots=True)
class Sort:
    """A field by which a list can be sorted: its SQL column (never null), its type, and the
    attribute of the row that holds it.

    ``coarse`` names an indexed column that grows with this one in steps, and the step of
    ``%(after)s``. The rows are then read from the index and sorted within a step only.
    """

    column: LiteralString
    type: LiteralString
    attribute: str
    coarse: tuple[LiteralString, LiteralString] | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """A list as SQL: ``select`` up to the FROM and its joins, the sorts by name, the id column.

    ``sorts`` has the names that the API uses; each is also accepted as ``-name``. The attribute
    ``id`` of a row must be its id.
    """

    select: LiteralString
    sorts: Mapping[str, Sort]
    id: LiteralString


async def fetch_page(
    connection: Connection,
    model: type[Row],
    listing: Listing,
    query: ListQuery,
    sort: str | Enum,
    conditions: Sequence[LiteralString] = (),
    params: Mapping[str, Any] | None = None,
) -> tuple[list[Row], str | None]:
    """Return the rows of a page, and the cursor of the next page or None.

    ``conditions`` are SQL over ``params``, joined by AND. Raises NotFoundError for a cursor of
    another list.
    """
    name = str(sort.value if isinstance(sort, Enum) else sort)
    descending, chosen = name.startswith("-"), listing.sorts[name.removeprefix("-")]
    values = dict(params or {})
    where = list(conditions)
    if query.cursor is not None:
        values["after"], values["after_id"] = _read_cursor(query.cursor, name)
        where.append(_after(chosen, listing.id, descending=descending))
    values["most"] = query.limit + 1
    order: LiteralString = " desc" if descending else ""
    statement = (
        listing.select
        + ("\nwhere " + "\n  and ".join(where) if where else "")
        + f"\norder by {_steps(chosen, order)}{chosen.column}{order}, {listing.id}{order}"
        + "\nlimit %(most)s"
    )
    try:
        rows = await fetch_all(connection, model, statement, values)
    except DataError:
        if query.cursor is None:
            raise
        raise NotFoundError("api.cursor_unknown") from None  # the cursor's value has another type
    more = len(rows) > query.limit
    rows = rows[: query.limit]
    return rows, _cursor(rows[-1], chosen, name) if more else None


def _after(sort: Sort, id_column: LiteralString, *, descending: bool) -> LiteralString:
    comparison: LiteralString = "<" if descending else ">"
    coarse: LiteralString = (
        f"{sort.coarse[0]} {comparison}= {sort.coarse[1]} and " if sort.coarse else ""
    )
    return (
        f"{coarse}({sort.column}, {id_column}) {comparison}"
        f" (%(after)s::{sort.type}, %(after_id)s::uuid)"
    )


def _steps(sort: Sort, order: LiteralString) -> LiteralString:
    return f"{sort.coarse[0]}{order}, " if sort.coarse else ""


def _cursor(row: object, sort: Sort, name: str) -> str:
    value = getattr(row, sort.attribute)
    if isinstance(value, datetime | date):
        value = value.isoformat()
    packed = orjson.dumps([name, str(value), str(getattr(row, "id"))])  # noqa: B009 - any row
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def _read_cursor(cursor: str, name: str) -> tuple[str, UUID]:
    try:
        packed = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        made_for, value, row_id = orjson.loads(packed)
        if made_for != name or not isinstance(value, str) or "\0" in value:
            raise NotFoundError("api.cursor_unknown")
        return value, UUID(row_id)
    except (binascii.Error, ValueError, TypeError, AttributeError):
        raise NotFoundError("api.cursor_unknown") from None
