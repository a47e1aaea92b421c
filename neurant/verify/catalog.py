"""The objects of the database, read from its catalog, so that no new object escapes.

Only the schemas of the product are read. Another product's tables in ``auth`` (Supabase's own) are
omitted; ``auth.users`` is the one that we depend on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from neurant.verify.definitions import normal

Connection = psycopg.Connection[Any]
SCHEMAS = ("public", "private", "jobs", "auth")


@dataclass(frozen=True)
class Column:
    """A column; ``filled`` names the source of its value: ``us``, ``default`` or ``database``."""

    name: str
    type: str
    required: bool
    filled: str
    labels: tuple[str, ...]  # the labels of an enum, in order
    length: int | None  # the maximum length of a varchar


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key: ``columns`` of ``table`` reference ``target_columns`` of ``target``."""

    name: str
    table: str
    columns: tuple[str, ...]
    target: str
    target_columns: tuple[str, ...]


@dataclass(frozen=True)
class Unique:
    """A unique index: its plain columns (without expressions) and its predicate."""

    name: str
    columns: tuple[str, ...]
    primary: bool
    predicate: str | None


@dataclass(frozen=True)
class Trigger:
    """A trigger of ours, as the catalog writes it; ``enabled`` as in pg_trigger."""

    name: str
    definition: str
    enabled: str


@dataclass
class Table:
    """A table or view."""

    name: str
    kind: str
    columns: dict[str, Column]
    keys: list[ForeignKey] = field(default_factory=list)
    uniques: list[Unique] = field(default_factory=list)
    checks: list[tuple[tuple[str, ...], str]] = field(default_factory=list)
    triggers: list[Trigger] = field(default_factory=list)
    grants: dict[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    whole: set[tuple[str, str]] = field(default_factory=set)  # grants on the table, not by column

    @property
    def company(self) -> str | None:
        """Return the column that holds a row's company; None: the platform owns the rows."""
        if self.name == "public.companies":
            return "id"
        return "company_id" if "company_id" in self.columns else None

    @property
    def key(self) -> tuple[str, ...]:
        """Return the primary key's columns, or every column if there is none."""
        found = [unique.columns for unique in self.uniques if unique.primary]
        return found[0] if found else tuple(self.columns)

    def granted(self, role: str, operation: str) -> frozenset[str]:
        """Return the columns on which the role has the operation now (delete: all)."""
        return self.grants.get((role, operation), frozenset())

    @property
    def sql(self) -> sql.Identifier:
        """Return the quoted name."""
        return sql.Identifier(*self.name.split("."))


@dataclass(frozen=True)
class Function:
    """A function by its signature, ``schema.name(types)``; ``arguments`` are (name, type)."""

    signature: str
    name: str
    arguments: tuple[tuple[str, str], ...]
    definer: bool
    owner: str
    config: tuple[str, ...]
    trigger: bool
    variadic: bool
    execute: tuple[str, ...]  # roles that may call it, without its owner


@dataclass(frozen=True)
class Catalog:
    """The tables and functions by name."""

    tables: dict[str, Table]
    functions: dict[str, Function]

    def tenant_tables(self) -> Iterator[Table]:
        """Yield the tables whose rows belong to companies."""
        return (t for t in self.tables.values() if t.company and t.kind in "rp")

    def references(self) -> Iterator[ForeignKey]:
        """Yield every foreign key of every table."""
        return (key for table in self.tables.values() for key in table.keys)


def quoted(text: str) -> sql.SQL:
    """Return a type or an expression in the catalog's own words as SQL; never use it for input."""
    return sql.SQL(text)


_TABLES: LiteralString = """
select c.oid, n.nspname || '.' || c.relname as name, c.relkind::text as kind
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = any (%(schemas)s) and c.relkind in ('r', 'p', 'v', 'm', 'f')
  and not c.relispartition
  and (n.nspname <> 'auth' or c.relname = 'users')
  and c.relname <> 'schema_migrations'
order by 2
"""
_COLUMNS: LiteralString = """
select a.attrelid as oid, a.attname as name, format_type(a.atttypid, null) as type,
  a.attnotnull as required,
  case when a.attgenerated <> '' or a.attidentity = 'a' then 'database'
    when a.atthasdef or a.attidentity <> '' then 'default' else 'us' end as filled,
  array(select e.enumlabel::text from pg_enum e where e.enumtypid = a.atttypid
    order by e.enumsortorder) as labels,
  case when a.atttypid = 'varchar'::regtype and a.atttypmod > 0 then a.atttypmod - 4 end as length
from pg_attribute a
where a.attrelid = any (%(oids)s) and a.attnum > 0 and not a.attisdropped
order by a.attrelid, a.attnum
"""
_CONSTRAINTS: LiteralString = """
select k.conrelid as oid, k.conname as name, k.contype::text as kind, k.confrelid as target,
  array(select a.attname::text from unnest(k.conkey) with ordinality u (n, o)
    join pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.n order by u.o) as columns,
  array(select a.attname::text from unnest(k.confkey) with ordinality u (n, o)
    join pg_attribute a on a.attrelid = k.confrelid and a.attnum = u.n order by u.o)
    as target_columns,
  pg_get_expr(k.conbin, k.conrelid) as expression
from pg_constraint k
where k.conrelid = any (%(oids)s) and k.contype in ('f', 'c') and k.conparentid = 0
order by k.conname
"""
_UNIQUES: LiteralString = """
select i.indrelid as oid, x.relname as name, i.indisprimary as primary,
  array(select a.attname::text from unnest(i.indkey::int2[]) with ordinality u (n, o)
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = u.n order by u.o) as columns,
  pg_get_expr(i.indpred, i.indrelid) as predicate
from pg_index i join pg_class x on x.oid = i.indexrelid
where i.indrelid = any (%(oids)s) and i.indisunique
order by x.relname
"""
_TRIGGERS: LiteralString = """
select t.tgrelid as oid, t.tgname as name, pg_get_triggerdef(t.oid) as definition,
  t.tgenabled::text as enabled
from pg_trigger t
where t.tgrelid = any (%(oids)s) and not t.tgisinternal
order by t.tgname
"""
_GRANTS: LiteralString = """
select oid, grantee, operation, bool_or(whole) as whole,
  array_agg(distinct column_name) as columns
from (
  select c.oid, coalesce(r.rolname, 'public')::text as grantee,
    lower(x.privilege_type) as operation, a.attname::text as column_name, true as whole
  from pg_class c
  cross join lateral aclexplode(c.relacl) x
  left join pg_roles r on r.oid = x.grantee
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  where c.oid = any (%(oids)s) and x.grantee <> c.relowner
  union all
  select c.oid, coalesce(r.rolname, 'public')::text, lower(x.privilege_type), a.attname::text, false
  from pg_class c
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  cross join lateral aclexplode(a.attacl) x
  left join pg_roles r on r.oid = x.grantee
  where c.oid = any (%(oids)s) and x.grantee <> c.relowner
) granted
group by 1, 2, 3
"""
_FUNCTIONS: LiteralString = """
select n.nspname || '.' || p.proname || '(' || array_to_string(array(
    select format_type(t, null) from unnest(p.proargtypes::oid[]) with ordinality u (t, o)
    order by u.o), ', ') || ')' as signature,
  n.nspname || '.' || p.proname as name,
  coalesce(p.proargnames[:p.pronargs], array_fill(''::text, array[p.pronargs])) as names,
  array(select format_type(t, null) from unnest(p.proargtypes::oid[]) with ordinality u (t, o)
    order by u.o) as types,
  p.prosecdef as definer, pg_get_userbyid(p.proowner)::text as owner,
  coalesce(p.proconfig, '{}') as config, p.prorettype = 'trigger'::regtype as trigger,
  p.provariadic <> 0 as variadic,
  array(select coalesce(r.rolname, 'public')::text
    from aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x
    left join pg_roles r on r.oid = x.grantee
    where x.privilege_type = 'EXECUTE' and x.grantee <> p.proowner order by 1) as execute
from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where n.nspname = any (%(schemas)s) and p.prokind in ('f', 'p')
  and (n.nspname <> 'auth' or p.proname = 'uid')
  and not exists (select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
order by 1
"""


def read_catalog(connection: Connection) -> Catalog:
    """Return everything that the matrix is derived from, in a few queries.

    Empties the transaction's search_path, so that the catalog writes every name with its schema.
    """
    connection.execute("select set_config('search_path', '', true)")
    with connection.cursor(row_factory=dict_row) as cursor:

        def rows(query: LiteralString, **values: object) -> list[dict[str, Any]]:
            return cursor.execute(query, {"schemas": list(SCHEMAS), **values}).fetchall()

        tables = {row["oid"]: Table(row["name"], row["kind"], {}) for row in rows(_TABLES)}
        known = list(tables)
        for row in rows(_COLUMNS, oids=known):
            table = tables[row.pop("oid")]
            table.columns[row["name"]] = Column(**{**row, "labels": tuple(row["labels"])})
        for row in rows(_UNIQUES, oids=known):
            table = tables[row.pop("oid")]
            table.uniques.append(Unique(**{**row, "columns": tuple(row["columns"])}))
        for row in rows(_CONSTRAINTS, oids=known):
            _add_constraint(tables, row)
        for row in rows(_TRIGGERS, oids=known):
            definition = normal(row["definition"])
            tables[row.pop("oid")].triggers.append(Trigger(**{**row, "definition": definition}))
        for row in rows(_GRANTS, oids=known):
            table, right = tables[row["oid"]], (row["grantee"], row["operation"])
            table.grants[right] = frozenset(row["columns"])
            if row["whole"]:
                table.whole.add(right)
        functions = [
            Function(
                arguments=tuple(zip(row.pop("names") or [], row.pop("types"), strict=False)),
                config=tuple(row.pop("config")),
                execute=tuple(row.pop("execute")),
                **row,
            )
            for row in rows(_FUNCTIONS)
        ]
    return Catalog(
        {table.name: table for table in tables.values()},
        {function.signature: function for function in functions},
    )


def _add_constraint(tables: dict[int, Table], row: dict[str, Any]) -> None:
    table = tables[row["oid"]]
    if row["kind"] == "c":
        table.checks.append((tuple(row["columns"]), row["expression"]))
    elif row["target"] in tables:
        table.keys.append(
            ForeignKey(
                row["name"],
                table.name,
                tuple(row["columns"]),
                tables[row["target"]].name,
                tuple(row["target_columns"]),
            )
        )
