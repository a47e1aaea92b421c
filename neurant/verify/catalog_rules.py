"""The catalog rules for every table, policy and function, checked by queries without a trial."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import LiteralString

from neurant.installation.role_settings import strange_settings
from neurant.verify import lists
from neurant.verify.catalog import Catalog, Connection
from neurant.verify.checks import Cell
from neurant.verify.expectations import FOLDER
from neurant.verify.objects import MAY_BE_MISSING, object_lines

# These are unique across companies: each is used to find the company, or belongs to the platform.
GLOBAL_UNIQUES = frozenset(
    {
        "api_keys_key_digest_key",
        "billing_accounts_customer_ref_key",
        "billing_events_pkey",
        "channel_accounts_routing_id_key",
        "companies_pkey",
        "companies_slug_key",
        "login_sessions_token_digest_key",
        "mails_pkey",
        "sso_attempts_state_digest_key",
        "sso_domains_proven_key",
        "system_metrics_pkey",
        "user_invitations_token_digest_key",
        "visitor_sessions_token_digest_key",
    }
)
# Each query returns the names of the objects that break the rule. No row means success.
RULES: dict[str, LiteralString] = {
    "row security is enabled and forced": """
        select c.oid::regclass::text from pg_class c
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
          and not (c.relrowsecurity and c.relforcerowsecurity)""",
    "a view shows what its reader may see": """
        select c.oid::regclass::text from pg_class c
        where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace)
          and (c.relkind = 'm' or c.relkind = 'v' and not coalesce(
            c.reloptions @> '{security_invoker=true}' or c.reloptions @> '{security_invoker=on}',
            false))""",
    # Objects of other schemas are not tried, so no role that serves traffic may use one.
    "no role of ours reaches a schema that is not ours": """
        select n.nspname || ' ' || r.rolname from pg_namespace n cross join pg_roles r
        where n.nspname not in ('public', 'private', 'jobs', 'auth', 'extensions', 'pg_catalog',
            'information_schema')
          and n.nspname !~ '^pg_(toast|temp)'
          and r.rolname in ('neurant_app', 'neurant_jobs', 'authenticated', 'visitor', 'anon',
            'neurant_worker', 'neurant_router')
          and has_schema_privilege(r.oid, n.oid, 'USAGE')""",
    "nothing is granted in advance": """
        select pg_get_userbyid(d.defaclrole) || ' ' || x.privilege_type
        from pg_default_acl d cross join lateral aclexplode(d.defaclacl) x
        where x.grantee <> d.defaclrole
          and x.grantee in (select oid from pg_roles where rolname in ('neurant_app',
            'neurant_jobs', 'authenticated', 'visitor', 'anon', 'neurant_worker', 'neurant_router')
            union all select 0)""",
    "the schema's owner owns every table": """
        select c.oid::regclass::text from pg_class c
        where c.relnamespace in ('public'::regnamespace, 'jobs'::regnamespace)
          and c.relkind in ('r', 'p', 'v', 'm', 'S')
          and pg_get_userbyid(c.relowner) <> 'neurant_owner'
          and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e')""",
    "a policy is for one command and for named roles": """
        select tablename || '.' || policyname from pg_policies where schemaname = 'public'
          and (cmd = 'ALL' or roles && '{public,anon}' or permissive <> 'PERMISSIVE')""",
    "every granted command has a policy": """
        select distinct c.oid::regclass || ' ' || r.rolname || ' ' || x.privilege_type
        from pg_class c
        cross join lateral (
          select grantee, privilege_type from aclexplode(c.relacl)
          union select y.grantee, y.privilege_type from pg_attribute a
            cross join lateral aclexplode(a.attacl) y where a.attrelid = c.oid) x
        join pg_roles r on r.oid = x.grantee
        where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
          and x.grantee <> c.relowner
          and x.privilege_type in ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
          and not exists (select from pg_policy p where p.polrelid = c.oid
            and r.oid = any (p.polroles)
            and p.polcmd = case x.privilege_type when 'SELECT' then 'r' when 'INSERT' then 'a'
              when 'UPDATE' then 'w' else 'd' end)""",
    "what is changed is checked as it is chosen": """
        select tablename || '.' || policyname from pg_policies where schemaname = 'public'
          and cmd = 'UPDATE' and (qual is null or with_check is null)""",
    "a policy calls our functions once per statement": """
        select tablename || '.' || policyname from pg_policies where schemaname = 'public'
          and regexp_count(coalesce(qual, '') || ' ' || coalesce(with_check, ''), 'private\\.')
            <> regexp_count(coalesce(qual, '') || ' ' || coalesce(with_check, ''),
              '\\( SELECT private\\.')""",
    # The two excepted functions call a helper in a single comparison or assignment, not in a scan.
    "a function calls our helpers once per statement": """
        select p.oid::regprocedure::text from pg_proc p
        where p.pronamespace = 'private'::regnamespace
          and p.proname not in ('end_for_erasure', 'erase_user')
          and p.prosrc ~ '([^:]=|any \\() ?private\\.'""",
    "every definer pins its search_path": """
        select p.oid::regprocedure::text from pg_proc p
        where p.pronamespace in ('private'::regnamespace, 'public'::regnamespace)
          and p.prosecdef and coalesce(
          not p.proconfig && '{"search_path=\\"\\"","search_path=jobs, pg_temp"}'::text[], true)""",
    "a definer is the router's and says why": """
        select p.oid::regprocedure::text from pg_proc p
        where p.pronamespace in ('private'::regnamespace, 'public'::regnamespace) and p.prosecdef
          and (pg_get_userbyid(p.proowner) <> 'neurant_router'
            or coalesce(obj_description(p.oid, 'pg_proc'), '') not like '%efiner%')""",
    "an invoker is the owner's": """
        select p.oid::regprocedure::text from pg_proc p
        where p.pronamespace in ('private'::regnamespace, 'jobs'::regnamespace)
          and not p.prosecdef and pg_get_userbyid(p.proowner) <> 'neurant_owner'""",
    "nobody is everybody": """
        select p.oid::regprocedure::text from pg_proc p
        where p.pronamespace in ('private'::regnamespace, 'jobs'::regnamespace)
          and has_function_privilege('anon', p.oid, 'execute')""",
    "every trigger is on": """
        select t.tgrelid::regclass || '.' || t.tgname from pg_trigger t join pg_class c
          on c.oid = t.tgrelid
        where c.relnamespace in ('public'::regnamespace, 'jobs'::regnamespace)
          and t.tgenabled <> 'O'""",
    "every index is valid and every constraint validated": """
        select i.indexrelid::regclass::text from pg_index i join pg_class c on c.oid = i.indrelid
        where c.relnamespace = 'public'::regnamespace and not (i.indisvalid and i.indisready)
        union all select k.conname from pg_constraint k
        where k.connamespace = 'public'::regnamespace and not k.convalidated""",
    "no role that serves bypasses row security or owns anything": """
        select rolname::text from pg_roles
        where rolname in ('neurant_app', 'neurant_jobs', 'authenticated', 'visitor',
            'neurant_worker', 'anon', 'neurant_router', 'neurant_owner')
          and (rolbypassrls or rolsuper or rolinherit and rolcanlogin or rolcreaterole)
        union all select c.oid::regclass::text from pg_class c
        where pg_get_userbyid(c.relowner) in ('neurant_app', 'neurant_jobs', 'authenticated',
          'visitor', 'neurant_worker', 'anon')""",
    "no role of ours makes a temporary table or a large object": """
        select r.rolname || ' temporary' from pg_roles r
        where has_database_privilege(r.oid, current_database(), 'TEMPORARY') and r.rolname in (
          'neurant_app', 'neurant_jobs', 'authenticated', 'visitor', 'anon', 'neurant_worker',
          'neurant_router')
        union all select r.rolname || ' ' || p.oid::regprocedure
        from pg_roles r cross join pg_proc p
        where p.pronamespace = 'pg_catalog'::regnamespace
          and (p.proname ~ '^lo_' or p.proname in ('loread', 'lowrite'))
          and has_function_privilege(r.oid, p.oid, 'EXECUTE') and r.rolname in (
          'neurant_app', 'neurant_jobs', 'authenticated', 'visitor', 'anon', 'neurant_worker',
          'neurant_router')""",
    "each login becomes only what it must": """
        select m.rolname || ' -> ' || r.rolname
        from pg_auth_members am join pg_roles m on m.oid = am.member
        join pg_roles r on r.oid = am.roleid
        where m.rolname in ('neurant_app', 'neurant_jobs', 'authenticated', 'visitor',
            'neurant_worker', 'anon', 'neurant_router')
          and (m.rolname, r.rolname) not in (('neurant_app', 'authenticated'),
            ('neurant_app', 'visitor'), ('neurant_jobs', 'neurant_worker'))""",
    "every foreign key has an index": """
        select k.conrelid::regclass || '.' || k.conname from pg_constraint k
        where k.contype = 'f' and k.connamespace = 'public'::regnamespace and not exists (
          select from pg_index i where i.indrelid = k.conrelid
            and (i.indpred is null or pg_get_expr(i.indpred, i.indrelid) ~ 'IS NOT NULL')
            and ((i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey
              or cardinality(k.conkey) > 2 and (i.indkey::int2[])[0:1] <@ k.conkey))""",
}


_SERVED: LiteralString = """
select tablename || '.' || policyname, tablename, unnest(array[qual, with_check]),
  '{authenticated}' = roles and (tablename, cmd) <> ('company_keys', 'INSERT')
from pg_policies
where schemaname = 'public' and roles <> '{neurant_router}' and policyname not like 'everybody%'
"""
_COMPANY = r"\({} = \( SELECT private\.company_id\({}\) AS company_id\)\)"
_PERMISSION = r"'([a-z_.]+)'::text"  # each policy for staff names its permission
# These functions act within the rights that the caller already has, or serve only visitors.
_WITHOUT_PERMISSION = frozenset(
    {
        "private.company_id(text)",
        "private.defer_job(text,jsonb)",
        "private.queue_mail(uuid,uuid,text,text,text,bytea)",
        "private.visitor_conversation_id()",
        "private.visitor_session_id()",
    }
)


def rule_cells(connection: Connection, catalog: Catalog) -> Iterator[Cell]:
    """Yield one cell per catalog rule and per committed list."""
    for rule, query in RULES.items():
        broken = [str(row[0]) for row in connection.execute(query).fetchall()]
        yield _cell(rule, broken)
    yield _cell("a policy of the served holds to the company", _open_policies(connection))
    yield _cell("what the staff calls names its permission", _unnamed_permissions(connection))
    yield _cell("a reference carries the company", _references_without_company(catalog))
    yield _cell("what is unique is so within a company", _global_uniques(catalog))
    yield _cell("no role carries a setting that is not ours", strange_settings(connection))
    written = {
        "grants.txt": lists.grant_lines(catalog),
        "functions.txt": lists.function_lines(catalog),
        "constraints.txt": lists.constraint_lines(catalog),
        "objects.txt": object_lines(connection),
    }
    for name, lines in written.items():
        yield _cell(f"{name} is what the database has", _differences(name, lines))


def _cell(rule: str, broken: list[str]) -> Cell:
    return Cell(
        "catalog_rules",
        "",
        rule,
        "",
        "",
        "nothing",
        "; ".join(sorted(broken)) or "nothing",
        not broken,
    )


def _open_policies(connection: Connection) -> list[str]:
    """Return policies that do not begin with "the verified company, for this permission, and …"."""
    known = {row[0] for row in connection.execute("select name from public.permissions")}
    found = []
    for name, table, text, for_staff in connection.execute(_SERVED).fetchall():
        column = "id" if table == "companies" else "company_id"
        first = re.compile(_COMPANY.format(column, _PERMISSION if for_staff else "()"))
        begun = first.match(str(text).removeprefix("(")) or first.match(str(text))
        if text and not (
            begun
            and (not for_staff or begun[1] in known)
            and (text == begun[0] or _is_and(text, begun[0]))
        ):
            found.append(str(name))
    return found


def _unnamed_permissions(connection: Connection) -> list[str]:
    """Return functions that staff may call and that name no permission."""
    rows = connection.execute(
        "select p.oid::regprocedure::text from pg_proc p"
        " where p.pronamespace = 'private'::regnamespace"
        " and has_function_privilege('authenticated', p.oid, 'execute')"
        " and p.prosrc like '%private.company_id()%'"
    ).fetchall()
    return [str(row[0]) for row in rows if row[0] not in _WITHOUT_PERMISSION]


def _is_and(text: str, first: str) -> bool:
    """Return whether ``text`` is ``(first AND …)``.

    Outside of inner parentheses it must contain no operator but AND.
    """
    if not text.startswith(f"({first} AND "):
        return False
    depth, outside = 0, ""
    for character in text[1:-1]:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if depth < 0:
            return False
        outside += character if depth == 0 else ""
    return " OR " not in outside


def _references_without_company(catalog: Catalog) -> list[str]:
    return [
        f"{key.table}.{key.name}"
        for key in catalog.references()
        if (
            (target := catalog.tables[key.target]).company
            and catalog.tables[key.table].company not in key.columns
            and target.name != "public.companies"
        )
        or (
            catalog.tables[key.target].company
            and "company_id" in catalog.tables[key.table].columns
            and "company_id" not in key.columns
        )
    ]


def _global_uniques(catalog: Catalog) -> list[str]:
    """Return unique indexes across companies that are not on the list.

    Citus can enforce a constraint only within one company, so each exception is listed.
    """
    found = {
        unique.name
        for table in catalog.tables.values()
        if table.company and table.kind in "rp"
        for unique in table.uniques
        if "company_id" not in unique.columns
    }
    return [f"not listed: {name}" for name in found - GLOBAL_UNIQUES] + [
        f"not there: {name}" for name in GLOBAL_UNIQUES - found
    ]


def _differences(name: str, lines: list[str]) -> list[str]:
    committed = [
        line
        for line in (FOLDER / name).read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    missing = (line for line in committed if not line.startswith(MAY_BE_MISSING))
    return [f"- {line}" for line in sorted(set(missing) - set(lines))] + [
        f"+ {line}" for line in sorted(set(lines) - set(committed))
    ]
