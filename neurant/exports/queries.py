"""The queries of an export, which the policies and grants limit to what its caller may read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

from psycopg import sql

from neurant.core.db.pool import Connection, fetch_all, fetch_value

# Excluded are keys, queues, vectors and search indexes, which have no meaning for a reader.
_TABLES = """
select c.relname::text as name,
  array_agg(a.attname::text order by a.attnum) as columns
from pg_catalog.pg_class c
join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
join pg_catalog.pg_type y on y.oid = a.atttypid
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
  and (c.relname = 'companies' or exists (
    select from pg_catalog.pg_attribute k where k.attrelid = c.oid and k.attname = 'company_id'))
  and c.relname <> all ('{company_keys,inbound_events,outbox,outbox_archived,reply_requests}')
  and y.typname <> all ('{vector,tsvector}')
  and (y.typname <> 'bytea' or c.relname like 'audit%%')
  and has_column_privilege(c.oid, a.attnum, 'select')
group by c.relname
order by c.relname
"""
_DOCUMENTS = "select d.id, d.filename::text from public.documents d order by d.id"
_NOTE = "select private.note_export(%s, %s)"
_BATCH_SIZE = 1000


@dataclass(frozen=True, slots=True)
class Table:
    """A table with the columns that the caller may read."""

    name: str
    columns: list[str]


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A document whose file is stored."""

    id: UUID
    filename: str


async def note_export(connection: Connection, what: str, form: str) -> bool:
    """Record the export in audit; return False if the caller may not export."""
    return bool(await fetch_value(connection, _NOTE, (what, form)))


async def readable_tables(connection: Connection) -> list[Table]:
    """Return the tenant tables of which the caller may read at least one column."""
    return await fetch_all(connection, Table, _TABLES)


async def stored_files(connection: Connection) -> list[StoredFile]:
    """Return the documents whose files belong to the export."""
    return await fetch_all(connection, StoredFile, _DOCUMENTS)


async def stream_rows(connection: Connection, table: Table) -> AsyncIterator[str]:
    """Yield the rows of a table that the caller may see, each as JSON, in constant memory."""
    # The names come from the system catalog, not from user input.
    query = sql.SQL("select to_json(x)::text from (select {} from {}) x").format(
        sql.SQL(", ").join(sql.Identifier(name) for name in table.columns),
        sql.Identifier("public", table.name),
    )
    async with connection.cursor("export") as cursor:
        cursor.itersize = _BATCH_SIZE
        await cursor.execute(query)
        async for row in cursor:
            yield str(row[0])
