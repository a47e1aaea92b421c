"""Describe a database's schema as text: one entry per object, equal for equal schemas.

``neurant migrate`` on an empty database and on a database of an earlier release must give the
same entries. Column order, names of system objects and object ids are left out: they differ
between databases that behave alike.
"""

# ruff: noqa: S608 - every query is made of constants of this file and of names from the catalog.
from __future__ import annotations

import re
from collections.abc import Iterator

import psycopg

SCHEMAS = ("public", "private", "jobs", "auth", "extensions")
ROLES = r"^(neurant_\w+|authenticated|visitor|anon)$"
# Every row is one fact: an object, a property and its value. %(schemas)s are our schemas.
_IN_OURS = "n.nspname = any (%(schemas)s)"
_FREE = (
    "not exists (select from pg_depend e where e.objid = {oid}"
    " and e.classid = '{catalog}'::regclass and e.deptype = 'e')"
)
_RELATION = (
    f"from pg_class c join pg_namespace n on n.oid = c.relnamespace where {_IN_OURS}"
    " and c.relkind in ('r', 'v', 'S', 'm', 'p') and "
    + _FREE.format(oid="c.oid", catalog="pg_class")
)
_COLUMN = (
    "from pg_attribute a join pg_class c on c.oid = a.attrelid"
    " join pg_namespace n on n.oid = c.relnamespace"
    " left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum"
    f" where {_IN_OURS} and c.relkind in ('r', 'v', 'c', 'm', 'p') and a.attnum > 0"
    " and not a.attisdropped and " + _FREE.format(oid="c.oid", catalog="pg_class")
)
_FUNCTION = (
    "from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
    f" where {_IN_OURS} and " + _FREE.format(oid="p.oid", catalog="pg_proc")
)
_TYPE = (
    f"from pg_type t join pg_namespace n on n.oid = t.typnamespace where {_IN_OURS}"
    " and t.typtype in ('e', 'd', 'r', 'c') and (t.typrelid = 0 or exists (select from pg_class c"
    " where c.oid = t.typrelid and c.relkind = 'c')) and "
    + _FREE.format(oid="t.oid", catalog="pg_type")
)
_ACL = (
    "coalesce((select string_agg(x.fact, ' ' order by x.fact) from (select distinct"
    " coalesce(nullif(grantee, 0)::regrole::text, 'PUBLIC') || ':' || privilege_type"
    " || case when is_grantable then '*' else '' end as fact from aclexplode({acl})) x), '')"
)
_QUERIES = {
    "relation": (
        "select c.oid::regclass::text, concat_ws(' | ', c.relkind, c.relowner::regrole,"
        " c.relpersistence, c.relrowsecurity, c.relforcerowsecurity, c.reloptions,"
        " obj_description(c.oid, 'pg_class'), "
        + _ACL.format(
            acl="coalesce(c.relacl, acldefault(case c.relkind when 'S' then 's'::\"char\""
            " else 'r' end, c.relowner))"
        )
        + ","
        " case when c.relkind in ('v', 'm') then pg_get_viewdef(c.oid) end,"
        " (select concat_ws(' ', s.seqtypid::regtype, s.seqstart, s.seqincrement, s.seqmax,"
        " s.seqmin, s.seqcycle) from pg_sequence s where s.seqrelid = c.oid)) " + _RELATION
    ),
    "column": (
        "select c.oid::regclass || '.' || a.attname, concat_ws(' | ',"
        " format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated,"
        " a.attstorage, a.attcompression, a.attcollation::regcollation, a.attoptions,"
        " pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum), "
        + _ACL.format(acl="a.attacl")
        + ") "
        + _COLUMN
    ),
    "constraint": (
        "select c.oid::regclass || '.' || k.conname, concat_ws(' | ', pg_get_constraintdef(k.oid),"
        " k.convalidated, k.conenforced, obj_description(k.oid, 'pg_constraint'))"
        " from pg_constraint k join pg_class c on c.oid = k.conrelid"
        f" join pg_namespace n on n.oid = c.relnamespace where {_IN_OURS}"
    ),
    "index": (
        "select i.indexrelid::regclass::text, concat_ws(' | ', pg_get_indexdef(i.indexrelid),"
        " i.indisvalid, i.indisprimary, i.indisunique, i.indisclustered, i.indisreplident,"
        " obj_description(i.indexrelid, 'pg_class')) from pg_index i"
        " join pg_class c on c.oid = i.indrelid join pg_namespace n on n.oid = c.relnamespace"
        f" where {_IN_OURS}"
    ),
    "function": (
        "select p.oid::regprocedure::text, concat_ws(' | ',"
        " pg_get_function_result(p.oid), pg_get_function_arguments(p.oid),"
        " (select lanname from pg_language l where l.oid = p.prolang), p.prokind, p.prosecdef,"
        " p.proleakproof, p.proisstrict, p.proretset, p.provolatile, p.proparallel, p.procost,"
        " p.prorows, p.proconfig, p.proowner::regrole, "
        + _ACL.format(acl="coalesce(p.proacl, acldefault('f', p.proowner))")
        + ", obj_description(p.oid, 'pg_proc'), p.prosrc) "
        + _FUNCTION
    ),
    "trigger": (
        "select t.tgrelid::regclass || '.' || t.tgname, concat_ws(' | ', pg_get_triggerdef(t.oid),"
        " t.tgenabled, obj_description(t.oid, 'pg_trigger')) from pg_trigger t"
        " join pg_class c on c.oid = t.tgrelid join pg_namespace n on n.oid = c.relnamespace"
        f" where {_IN_OURS} and not t.tgisinternal"
    ),
    "policy": (
        "select l.polrelid::regclass || '.' || l.polname, concat_ws(' | ', l.polcmd,"
        " l.polpermissive, (select string_agg(r::regrole::text, ' ' order by r::regrole::text)"
        " from unnest(l.polroles) r), 'using ' || pg_get_expr(l.polqual, l.polrelid),"
        " 'check ' || pg_get_expr(l.polwithcheck, l.polrelid), obj_description(l.oid, 'pg_policy'))"
        " from pg_policy l join pg_class c on c.oid = l.polrelid"
        f" join pg_namespace n on n.oid = c.relnamespace where {_IN_OURS}"
    ),
    "type": (
        "select t.oid::regtype::text, concat_ws(' | ', t.typtype, t.typowner::regrole,"
        " (select string_agg(e.enumlabel, ' ' order by e.enumsortorder) from pg_enum e"
        " where e.enumtypid = t.oid), obj_description(t.oid, 'pg_type'), "
        + _ACL.format(acl="coalesce(t.typacl, acldefault('T', t.typowner))")
        + ") "
        + _TYPE
    ),
    "schema": (
        "select n.nspname::text, concat_ws(' | ', n.nspowner::regrole,"
        " obj_description(n.oid, 'pg_namespace'), "
        + _ACL.format(acl="coalesce(n.nspacl, acldefault('n', n.nspowner))")
        + f") from pg_namespace n where {_IN_OURS}"
    ),
    "text search": (
        "select 'configuration ' || n.nspname || '.' || c.cfgname, concat_ws(' | ',"
        " c.cfgowner::regrole,"
        " (select string_agg(concat_ws(' ', m.maptokentype, m.mapdict::regdictionary), ', '"
        " order by m.maptokentype, m.mapseqno) from pg_ts_config_map m where m.mapcfg = c.oid))"
        f" from pg_ts_config c join pg_namespace n on n.oid = c.cfgnamespace where {_IN_OURS}"
        " union all select 'dictionary ' || n.nspname || '.' || d.dictname, concat_ws(' | ',"
        " d.dictowner::regrole,"
        " (select tmplname from pg_ts_template t where t.oid = d.dicttemplate), d.dictinitoption)"
        " from pg_ts_dict d join pg_namespace n on n.oid = d.dictnamespace where "
        f"{_IN_OURS} and " + _FREE.format(oid="d.oid", catalog="pg_ts_dict")
    ),
    "extension": (
        "select e.extname::text, concat_ws(' | ', e.extnamespace::regnamespace, e.extversion)"
        " from pg_extension e"
    ),
    "default privileges": (
        "select concat_ws(' ', d.defaclrole::regrole, d.defaclobjtype,"
        " nullif(d.defaclnamespace, 0)::regnamespace), "
        + _ACL.format(acl="d.defaclacl")
        + " from pg_default_acl d"
    ),
    "role": (
        "select r.rolname::text, concat_ws(' | ', r.rolsuper, r.rolinherit, r.rolcreaterole,"
        " r.rolcreatedb, r.rolcanlogin, r.rolreplication, r.rolbypassrls, r.rolconnlimit,"
        " (select string_agg(s.setdatabase || ' ' || array_to_string(s.setconfig, ', '), '; '"
        " order by s.setdatabase) from pg_db_role_setting s where s.setrole = r.oid"
        " and s.setdatabase = 0),"
        " (select string_agg(concat_ws(' ', m.roleid::regrole, m.admin_option, m.inherit_option,"
        " m.set_option), ', ' order by m.roleid::regrole::text) from pg_auth_members m"
        " where m.member = r.oid)) from pg_roles r where r.rolname ~ %(roles)s"
    ),
    "database": (
        "select 'rights'::text, "
        + _ACL.format(acl="coalesce(d.datacl, acldefault('d', d.datdba))")
        + " from pg_database d"
        " where d.datname = current_database()"
    ),
    "system function": (
        "select p.oid::regprocedure::text, "
        + _ACL.format(acl="coalesce(p.proacl, acldefault('f', p.proowner))")
        + " from pg_proc p"
        " where p.pronamespace = 'pg_catalog'::regnamespace"
        " and (p.proname ~ '^lo_' or p.proname in ('loread', 'lowrite'))"
    ),
    "event trigger": "select e.evtname::text, e.evtevent::text from pg_event_trigger e",
    "publication": "select p.pubname::text, p.puballtables::text from pg_publication p",
}
_BOOKS = "private.schema_migrations"  # it belongs to dbmate


def catalog(url: str, seeds: bool = True) -> dict[str, str]:
    """Return the definition of every object by its kind and name, and the rows of a new database.

    Without ``seeds`` the rows are omitted.
    """
    with psycopg.connect(url) as db:
        return read(db, seeds)


def read(db: psycopg.Connection, seeds: bool = True) -> dict[str, str]:
    """Return the same on an open connection, with the uncommitted changes of its transaction."""
    db.execute("set local search_path = pg_catalog")
    return dict(sorted(_facts(db, seeds)))


def differences(old: dict[str, str], new: dict[str, str]) -> list[str]:
    """Return one line per object that is missing, added or defined differently."""
    found = [f"missing: {name}" for name in old.keys() - new.keys()]
    found += [f"added: {name}" for name in new.keys() - old.keys()]
    found += [
        f"differs: {name}\n  - {old[name]}\n  + {new[name]}"
        for name in old.keys() & new.keys()
        if old[name] != new[name]
    ]
    return sorted(found)


def _facts(db: psycopg.Connection, seeds: bool) -> Iterator[tuple[str, str]]:
    given = {"schemas": list(SCHEMAS), "roles": ROLES}
    for kind, query in _QUERIES.items():
        for name, definition in db.execute(query.encode(), given):
            if not str(name).startswith(_BOOKS) and "schema_migrations" not in str(name):
                yield f"{kind} {name}", _in_order(str(definition))
    if seeds:
        yield from _rows(db)


def _in_order(definition: str) -> str:
    """Return the trigger's definition with its columns sorted.

    A trigger that names every column lists them in the table's order, which has no meaning.
    """
    found = re.fullmatch(r"(CREATE TRIGGER .* WHEN )\((.*)\)( EXECUTE .*)", definition)
    if found is None or " AND " in found.group(2):
        return definition
    parts = sorted(part.strip("()") for part in found.group(2).split(" OR "))
    return f"{found.group(1)}({' OR '.join(parts)}){found.group(3)}"


def _rows(db: psycopg.Connection) -> Iterator[tuple[str, str]]:
    """Yield the rows that the schema inserts, except values that differ in each database."""
    tables = db.execute(
        "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind = 'r' and n.nspname in ('public', 'private', 'jobs', 'auth') order by 1"
    ).fetchall()
    for (table,) in tables:
        if table == _BOOKS:
            continue
        rows = db.execute(
            f"select (to_jsonb(t) - '{{id,created_at,updated_at}}'::text[])::text"
            f" from {table} t order by 1"
        ).fetchall()
        for number, (row,) in enumerate(rows):
            yield f"row {table} {number:03}", row
