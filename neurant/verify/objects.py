"""The objects of a database besides tables and functions: schemas, roles, languages, publications …

Each query returns lines of ``objects.txt``, the committed list of allowed objects. Any other object
is an error: a publication of all tables sends every company's rows past row level security, and
CREATE on a schema lets its holder place a function where a trigger calls one. Owners and grantors
are not listed (the migrating login has another name on every server), and the objects of an
extension belong to the extension.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import LiteralString

from neurant.verify.catalog import SCHEMAS, Connection

OUR_ROLES = (
    "neurant_owner",
    "neurant_router",
    "neurant_app",
    "neurant_jobs",
    "neurant_worker",
    "authenticated",
    "visitor",
    "anon",
)
# Rights that every new database has; a database without them is at least as safe.
MAY_BE_MISSING = ("database right ", "language right ")

# Shared parts of the queries, which ``_filled`` inserts.
_WORDS: Mapping[LiteralString, LiteralString] = {
    "$who": """coalesce(pg_get_userbyid(nullif(x.grantee, 0)), 'public') || ' ' || x.privilege_type
      || case when x.is_grantable then ' with grant option' else '' end""",
    "$for_us": "(pg_get_userbyid(x.grantee) = any (%(roles)s) or x.grantee = 0)",
    "$ours": "n.nspname = any (%(schemas)s)",
    "$not_the_systems": """n.nspname not in ('pg_catalog', 'information_schema')
      and n.nspname !~ '^pg_(toast|temp)'""",
    # A condition on the object o: no extension owns it.
    "$by_no_extension": """not exists (select from pg_depend d
      where (d.classid, d.objid, d.deptype) = (o.tableoid, o.oid, 'e'))""",
    "$here": "(select oid from pg_database where datname = current_database())",
}
_RIGHTS: tuple[LiteralString, ...] = (
    """
    select 'schema right ' || n.nspname || ' ' || $who
    from pg_namespace n cross join lateral aclexplode(n.nspacl) x
    where n.nspname = any (%(reached)s) and x.grantee <> n.nspowner""",
    """
    select 'database right ' || $who
    from pg_database o
    cross join lateral aclexplode(coalesce(o.datacl, acldefault('d', o.datdba))) x
    where o.oid = $here and x.grantee <> o.datdba""",
    """
    select 'language right ' || o.lanname || ' ' || $who
    from pg_language o
    cross join lateral aclexplode(coalesce(o.lanacl, acldefault('l', o.lanowner))) x
    where x.grantee <> o.lanowner""",
    """
    select 'sequence right ' || n.nspname || '.' || o.relname || ' ' || $who
    from pg_class o join pg_namespace n on n.oid = o.relnamespace
    cross join lateral aclexplode(o.relacl) x
    where o.relkind = 'S' and x.grantee <> o.relowner and $ours""",
    """
    select 'type right ' || n.nspname || '.' || o.typname || ' ' || $who
    from pg_type o join pg_namespace n on n.oid = o.typnamespace
    cross join lateral aclexplode(o.typacl) x
    where x.grantee <> o.typowner and $not_the_systems""",
    # pg_init_privs holds the initial privileges of PostgreSQL and its extensions.
    """
    select 'system right ' || o.oid::regprocedure || ' ' || $who
    from pg_proc o join pg_namespace n on n.oid = o.pronamespace
    cross join lateral aclexplode(o.proacl) x
    left join pg_init_privs i on (i.classoid, i.objoid) = ('pg_proc'::regclass, o.oid)
    where not $ours and x.grantee <> o.proowner and (x.grantee <> 0 or i.initprivs is not null)
      and not exists (select from aclexplode(i.initprivs) y
        where (y.grantee, y.privilege_type) = (x.grantee, x.privilege_type))""",
    """
    select 'system right ' || o.oid::regclass || ' ' || $who
    from pg_class o join pg_namespace n on n.oid = o.relnamespace
    cross join lateral (
      select a.* from aclexplode(o.relacl) a
      union all select b.* from pg_attribute t cross join lateral aclexplode(t.attacl) b
      where t.attrelid = o.oid) x
    where n.nspname in ('pg_catalog', 'information_schema') and x.grantee <> o.relowner
      and (n.nspname, x.grantee, x.privilege_type) <> ('information_schema', 0, 'SELECT')
      and not exists (
        select from pg_init_privs p cross join lateral aclexplode(p.initprivs) y
        where (p.classoid, p.objoid) = ('pg_class'::regclass, o.oid)
          and (y.grantee, y.privilege_type) = (x.grantee, x.privilege_type))""",
    """
    select 'large object right ' || o.oid || ' ' || $who
    from pg_largeobject_metadata o cross join lateral aclexplode(o.lomacl) x
    where x.grantee <> o.lomowner""",
    """
    select 'parameter right ' || o.parname || ' ' || $who
    from pg_parameter_acl o cross join lateral aclexplode(o.paracl) x where $for_us""",
    """
    select 'tablespace right ' || o.spcname || ' ' || $who
    from pg_tablespace o cross join lateral aclexplode(o.spcacl) x where $for_us""",
    """
    select 'wrapper right ' || o.fdwname || ' ' || $who
    from pg_foreign_data_wrapper o cross join lateral aclexplode(o.fdwacl) x where $for_us""",
    """
    select 'server right ' || o.srvname || ' ' || $who
    from pg_foreign_server o cross join lateral aclexplode(o.srvacl) x where $for_us""",
    """
    select 'granted in advance by ' || pg_get_userbyid(o.defaclrole)
      || coalesce(' in ' || n.nspname, '') || ' on ' || o.defaclobjtype::text || ' to ' || $who
    from pg_default_acl o left join pg_namespace n on n.oid = o.defaclnamespace
    cross join lateral aclexplode(o.defaclacl) x
    where x.grantee <> o.defaclrole""",
    """
    select 'grant option ' || w.what || ' ' || $who
    from (
      select o.oid::regclass::text as what, o.relowner as owner, o.relnamespace as place, o.relacl
        as acl from pg_class o
      union all select o.oid::regclass || '.' || a.attname, o.relowner, o.relnamespace, a.attacl
        from pg_class o join pg_attribute a on a.attrelid = o.oid
      union all select o.oid::regprocedure::text, o.proowner, o.pronamespace, o.proacl
        from pg_proc o) w
    join pg_namespace n on n.oid = w.place
    cross join lateral aclexplode(w.acl) x
    where x.is_grantable and x.grantee <> w.owner and $ours""",
)
_ROLES: tuple[LiteralString, ...] = (
    """
    select 'role ' || rolname || case when rolcanlogin then ' login' else '' end
      || case when rolinherit then '' else ' noinherit' end
      || case when rolsuper then ' superuser' else '' end
      || case when rolbypassrls then ' bypassrls' else '' end
      || case when rolcreaterole then ' createrole' else '' end
      || case when rolcreatedb then ' createdb' else '' end
      || case when rolreplication then ' replication' else '' end
    from pg_roles where rolname = any (%(roles)s)""",
    # A role that bypasses row security runs the migrations and may become the owner.
    """
    select 'membership ' || m.rolname || ' in ' || r.rolname
      || case when o.inherit_option then ' inherit' else '' end
      || case when o.set_option then ' set' else '' end
      || case when o.admin_option then ' admin' else '' end
    from pg_auth_members o
    join pg_roles m on m.oid = o.member
    join pg_roles r on r.oid = o.roleid
    where (m.rolname = any (%(roles)s) or r.rolname = any (%(roles)s))
      and not (m.rolname <> all (%(roles)s) and (m.rolsuper or m.rolbypassrls))""",
    # The settings for all roles that change an identity or the meaning of a name.
    """
    select 'role setting ' || coalesce(r.rolname, 'of all roles') || ' ' || s.setting
    from pg_db_role_setting o
    left join pg_roles r on r.oid = o.setrole
    cross join lateral unnest(o.setconfig) s (setting)
    where o.setdatabase in (0, $here) and (r.rolname = any (%(roles)s) or o.setrole = 0
      and s.setting ~ '^(role|row_security|search_path|session_\\w+|local_preload\\w+|request\\.)')
    """,
    """
    select 'the database is of ' || pg_get_userbyid(datdba)
    from pg_database where oid = $here and pg_get_userbyid(datdba) = any (%(roles)s)""",
    """
    select 'schema ' || n.nspname || ' of ' || pg_get_userbyid(n.nspowner)
    from pg_namespace n
    where n.nspname = any (%(reached)s) and n.nspname <> 'public'
      or pg_get_userbyid(n.nspowner) = any (%(roles)s)""",
    # A foreign schema with tables may be a copy of ours without policies.
    """
    select 'schema with tables ' || n.nspname
    from pg_namespace o join pg_namespace n on n.oid = o.oid
    where $not_the_systems and $by_no_extension and n.nspname <> all (%(reached)s)
      and exists (select from pg_class c where c.relnamespace = n.oid
        and c.relkind in ('r', 'v', 'm', 'f', 'p'))""",
)
# Objects that export data, and code that runs without being called by name.
_OBJECTS: tuple[LiteralString, ...] = (
    "select 'publication ' || pubname from pg_publication",
    "select 'published ' || pubname || ' ' || schemaname || '.' || tablename"
    " from pg_publication_tables",
    "select 'subscription ' || subname from pg_subscription where subdbid = $here",
    "select 'replication slot ' || slot_name from pg_replication_slots"
    " where database = current_database() and not temporary",
    "select 'large object ' || oid from pg_largeobject_metadata",
    "select 'language ' || lanname || case when lanpltrusted then ' trusted' else '' end"
    " from pg_language",
    "select 'extension ' || extname || ' in ' || n.nspname"
    " from pg_extension o join pg_namespace n on n.oid = o.extnamespace",
    "select 'event trigger ' || evtname from pg_event_trigger",
    "select 'foreign data wrapper ' || fdwname from pg_foreign_data_wrapper",
    "select 'foreign server ' || srvname from pg_foreign_server",
    "select 'user mapping ' || srvname || ' ' || usename from pg_user_mappings",
    "select 'security label on ' || objtype || ' ' || objname from pg_seclabels",
    """
    select 'rule ' || o.rulename || ' on ' || n.nspname || '.' || c.relname
    from pg_rewrite o
    join pg_class c on c.oid = o.ev_class
    join pg_namespace n on n.oid = c.relnamespace
    where o.rulename <> '_RETURN' and $not_the_systems and $by_no_extension""",
    """
    select 'inherits ' || i.inhrelid::regclass || ' from ' || i.inhparent::regclass
    from pg_inherits i join pg_class c on c.oid = i.inhrelid where c.relkind in ('r', 'p', 'f')""",
    "select 'policy ' || schemaname || '.' || tablename || ' ' || policyname"
    " from pg_policies where schemaname <> 'public'",
    """
    select 'check ' || n.nspname || '.' || c.relname || ' ' || k.conname
    from pg_constraint k
    join pg_class c on c.oid = k.conrelid
    join pg_namespace n on n.oid = c.relnamespace
    where k.contype = 'c' and $ours and n.nspname <> 'auth'""",
    # Unique indexes are listed in constraints.txt instead.
    """
    select 'index of ' || n.nspname || '.' || t.relname || ': ' || pg_get_indexdef(i.indexrelid)
    from pg_index i
    join pg_class t on t.oid = i.indrelid
    join pg_namespace n on n.oid = t.relnamespace
    where not i.indisunique and $ours and n.nspname <> 'auth'""",
    """
    select 'not null ' || n.nspname || '.' || c.relname || ' '
      || string_agg(a.attname, ',' order by a.attname)
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and a.attnotnull
      and not a.attisdropped
    where c.relkind in ('r', 'p') and $ours and n.nspname <> 'auth'
    group by n.nspname, c.relname""",
    # REPLICA IDENTITY FULL sends every column of an old row to each subscriber.
    """
    select 'replica identity ' || n.nspname || '.' || c.relname || ' ' || c.relreplident::text
    from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and c.relreplident <> 'd' and $ours""",
    """
    select 'table ' || o.oid::regclass
    from pg_class o join pg_namespace n on n.oid = o.relnamespace
    where o.oid >= 16384 and o.relkind in ('r', 'v', 'm', 'f', 'p') and $by_no_extension
      and n.nspname in ('extensions', 'pg_catalog', 'information_schema')""",
)
# Objects that change the meaning of SQL.
_MEANINGS: tuple[LiteralString, ...] = (
    """
    select 'cast ' || o.castsource::regtype || ' to ' || o.casttarget::regtype
    from pg_cast o where o.oid >= 16384 and $by_no_extension""",
    "select 'access method ' || o.amname from pg_am o where o.oid >= 16384 and $by_no_extension",
    """
    select 'transform ' || o.trftype::regtype || ' ' || l.lanname
    from pg_transform o join pg_language l on l.oid = o.trflang where $by_no_extension""",
    """
    select o.kind || ' ' || n.nspname || '.' || o.name
    from (
      select tableoid, oid, 'operator' as kind, oprname as name, oprnamespace as place
        from pg_operator
      union all select tableoid, oid, 'operator class', opcname, opcnamespace from pg_opclass
      union all select tableoid, oid, 'operator family', opfname, opfnamespace from pg_opfamily
      union all select tableoid, oid, 'collation', collname, collnamespace from pg_collation
      union all select tableoid, oid, 'conversion', conname, connamespace from pg_conversion
      union all select tableoid, oid, 'text search configuration', cfgname, cfgnamespace
        from pg_ts_config
      union all select tableoid, oid, 'text search dictionary', dictname, dictnamespace
        from pg_ts_dict
      union all select tableoid, oid, 'text search parser', prsname, prsnamespace
        from pg_ts_parser
      union all select tableoid, oid, 'text search template', tmplname, tmplnamespace
        from pg_ts_template) o
    join pg_namespace n on n.oid = o.place
    where (o.oid >= 16384 or $not_the_systems) and $by_no_extension""",
    """
    select 'type ' || n.nspname || '.' || o.typname
    from pg_type o
    join pg_namespace n on n.oid = o.typnamespace
    left join pg_class c on c.oid = o.typrelid
    where (o.typtype in ('d', 'e', 'r') or o.typtype = 'b' and o.typelem = 0 or c.relkind = 'c')
      and n.nspname = any (%(reached)s) and n.nspname <> 'auth' and $by_no_extension""",
    # LEAKPROOF lets the planner call a function before the policies; PARALLEL SAFE lets it run in
    # a worker with other settings.
    """
    select 'traits of ' || o.oid::regprocedure || ':'
      || case o.provolatile when 'i' then ' immutable' when 's' then ' stable' else '' end
      || case when o.proisstrict then ' strict' else '' end
      || case o.proparallel when 's' then ' parallel safe' when 'r' then ' parallel restricted'
        else '' end
      || case when o.proleakproof then ' leakproof' else '' end
    from pg_proc o join pg_namespace n on n.oid = o.pronamespace
    where (o.provolatile <> 'v' or o.proisstrict or o.proparallel <> 'u' or o.proleakproof)
      and $ours and n.nspname <> 'auth' and $by_no_extension""",
    """
    select case o.prokind when 'a' then 'aggregate ' when 'w' then 'window function '
      else 'function ' end || o.oid::regprocedure
    from pg_proc o join pg_namespace n on n.oid = o.pronamespace
    where o.oid >= 16384 and $by_no_extension and (o.prokind in ('a', 'w') and $ours
      or n.nspname in ('extensions', 'pg_catalog', 'information_schema'))""",
)
QUERIES = (*_RIGHTS, *_ROLES, *_OBJECTS, *_MEANINGS)


def _filled(query: LiteralString) -> LiteralString:
    for word, meaning in _WORDS.items():
        query = query.replace(word, meaning)
    return query


def object_lines(connection: Connection) -> list[str]:
    """Return every line, sorted. The search_path is empty, so that each name is qualified."""
    connection.execute("select set_config('search_path', '', true)")
    asked = {
        "schemas": list(SCHEMAS),
        "reached": [*SCHEMAS, "extensions"],
        "roles": list(OUR_ROLES),
    }
    return sorted(
        {str(row[0]) for query in QUERIES for row in connection.execute(_filled(query), asked)}
    )
