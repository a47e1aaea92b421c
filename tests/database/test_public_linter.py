"""What a public Postgres linter (Supabase's splinter, lints 0001 to 0029) looks for, held at none.

The lints are ours, after that linter's documentation. Those about what only a Supabase project has
(sign-in settings, storage buckets, pg_graphql, bloat and unused indexes of a running database) are
left out; ``0029`` (a definer that ``authenticated`` may execute) is how this schema works, and what
it warns of is held instead: such functions are in a schema that no API publishes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest

from neurant.installation.embedded import Urls

_OURS = "n.nspname in ('public', 'private', 'jobs', 'auth')"
_SERVED = "('anon', 'authenticated')"


@dataclass(frozen=True)
class Lint:
    """A query that finds nothing, and a change after which it finds something."""

    finds: str
    breaks: str


LINTS = {
    "0001 unindexed_foreign_keys": Lint(
        f"""select c.conrelid::regclass, c.conname from pg_constraint c
        join pg_class t on t.oid = c.conrelid join pg_namespace n on n.oid = t.relnamespace
        where c.contype = 'f' and {_OURS} and not exists (
          -- The company and the row: what a third column adds to them is found without it.
          select from pg_index i where i.indrelid = c.conrelid and i.indisvalid
            and c.conkey @> (i.indkey::int2[])[0:least(cardinality(c.conkey), 2) - 1])""",
        "create table public.broken (id uuid primary key, other uuid references public.broken (id))",
    ),
    "0002 auth_users_exposed": Lint(
        f"""select v.oid::regclass from pg_class v join pg_namespace n on n.oid = v.relnamespace
        join pg_rewrite r on r.ev_class = v.oid join pg_depend d on d.objid = r.oid
        where v.relkind in ('v', 'm') and n.nspname = 'public' and d.refobjid = 'auth.users'::regclass
          and exists (select from unnest(array{_SERVED.replace("(", "[").replace(")", "]")}) g
            where has_table_privilege(g, v.oid, 'select'))""",
        "create view public.broken as select email from auth.users; grant select on public.broken to authenticated",
    ),
    "0003 auth_rls_initplan": Lint(
        """select tablename, policyname from pg_policies
        where regexp_replace(lower(concat(qual, ' ', with_check)),
          '\\( *select +(auth|private)\\.[a-z_]+\\([^()]*\\)', '', 'g')
          ~ '(auth\\.(uid|jwt|role|email)|current_setting) *\\('""",
        "create policy broken on public.notes for select to authenticated using (auth.uid() is not null)",
    ),
    "0004 no_primary_key": Lint(
        f"""select t.oid::regclass from pg_class t join pg_namespace n on n.oid = t.relnamespace
        where t.relkind in ('r', 'p') and not t.relispartition and {_OURS}
          and not exists (select from pg_index i where i.indrelid = t.oid and i.indisprimary)""",
        "create table public.broken (id uuid)",
    ),
    "0006 multiple_permissive_policies": Lint(
        """select p.schemaname, p.tablename, r.rolname, a.cmd from pg_policies p
        join pg_roles r on r.rolname = any (p.roles) or p.roles = '{public}'
        cross join lateral unnest(case p.cmd when 'ALL' then '{SELECT,INSERT,UPDATE,DELETE}'::text[]
          else array[p.cmd] end) a (cmd)
        where p.permissive = 'PERMISSIVE' and not r.rolbypassrls and r.rolname not like 'pg\\_%'
        group by 1, 2, 3, 4 having count(*) > 1""",
        "create policy broken on public.notes for select to authenticated using (false)",
    ),
    "0007 policy_exists_rls_disabled": Lint(
        f"""select t.oid::regclass from pg_class t join pg_namespace n on n.oid = t.relnamespace
        where {_OURS} and not t.relrowsecurity
          and exists (select from pg_policy p where p.polrelid = t.oid)""",
        "alter table public.notes disable row level security",
    ),
    "0008 rls_enabled_no_policy": Lint(
        f"""select t.oid::regclass from pg_class t join pg_namespace n on n.oid = t.relnamespace
        where {_OURS} and t.relkind in ('r', 'p') and t.relrowsecurity
          and not exists (select from pg_policy p where p.polrelid = t.oid)""",
        "create table public.broken (id uuid primary key); alter table public.broken enable row level security",
    ),
    "0009 duplicate_index": Lint(
        f"""select i.indrelid::regclass, min(i.indexrelid::regclass::text) from pg_index i
        join pg_class t on t.oid = i.indrelid join pg_namespace n on n.oid = t.relnamespace
        where {_OURS} group by i.indrelid, i.indkey::text, i.indclass::text, i.indoption::text,
          pg_get_expr(i.indexprs, i.indrelid), pg_get_expr(i.indpred, i.indrelid)
        having count(*) > 1""",
        "create index broken on public.notes (company_id, id)",
    ),
    "0010 security_definer_view": Lint(
        f"""select v.oid::regclass from pg_class v join pg_namespace n on n.oid = v.relnamespace
        where v.relkind = 'v' and {_OURS}
          and not coalesce(v.reloptions, '{{}}') && '{{security_invoker=true,security_invoker=on,security_invoker=1}}'
          and exists (select from unnest(array['anon', 'authenticated', 'visitor', 'neurant_worker']) g
            where has_table_privilege(g, v.oid, 'select'))""",
        "create view public.broken as select id from public.notes; grant select on public.broken to authenticated",
    ),
    "0011 function_search_path_mutable": Lint(
        f"""select p.oid::regprocedure from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where {_OURS} and not exists (
          select from unnest(coalesce(p.proconfig, '{{}}')) c where c like 'search\\_path=%')""",
        "create function private.broken() returns integer language sql as 'select 1'",
    ),
    "0013 rls_disabled_in_public": Lint(
        """select t.oid::regclass from pg_class t
        where t.relnamespace = 'public'::regnamespace and t.relkind in ('r', 'p') and not t.relrowsecurity""",
        "create table public.broken (id uuid primary key)",
    ),
    "0014 extension_in_public": Lint(
        "select extname from pg_extension where extnamespace = 'public'::regnamespace",
        "create schema broken; alter extension unaccent set schema public",
    ),
    "0015 rls_references_user_metadata": Lint(
        "select tablename, policyname from pg_policies where concat(qual, with_check) ~ 'user_metadata'",
        "create policy broken on public.notes for select to visitor"
        " using (current_setting('request.jwt.claims')::jsonb -> 'user_metadata' is not null)",
    ),
    "0016 materialized_view_in_api": Lint(
        f"""select v.oid::regclass from pg_class v where v.relkind = 'm'
          and exists (select from unnest(array{_SERVED.replace("(", "[").replace(")", "]")}) g
            where has_table_privilege(g, v.oid, 'select'))""",
        "create materialized view public.broken as select 1 as one; grant select on public.broken to authenticated",
    ),
    "0017 foreign_table_in_api": Lint(
        "select oid::regclass from pg_class where relkind = 'f'",
        "create foreign data wrapper broken; create server broken foreign data wrapper broken;"
        " create foreign table public.broken (id integer) server broken",
    ),
    "0018 unsupported_reg_types": Lint(
        f"""select a.attrelid::regclass, a.attname from pg_attribute a
        join pg_class t on t.oid = a.attrelid and t.relkind in ('r', 'p') join pg_namespace n on n.oid = t.relnamespace
        where {_OURS} and a.atttypid = any ('{{regcollation,regconfig,regdictionary,regnamespace,regoper,regoperator,regproc,regprocedure}}'::regtype[])""",
        "create table public.broken (id uuid primary key, path regproc)",
    ),
    "0021 fkey_to_auth_unique": Lint(
        """select c.conrelid::regclass, c.conname from pg_constraint c
        join pg_class t on t.oid = c.confrelid and t.relnamespace = 'auth'::regnamespace
        join pg_index i on i.indexrelid = c.conindid
        where c.contype = 'f' and not i.indisprimary""",
        "create unique index broken on auth.users (email);"
        " create table public.broken (email text references auth.users (email))",
    ),
    "0024 rls_policy_always_true": Lint(
        """select tablename, policyname from pg_policies
        where roles && '{public,anon,authenticated,visitor}' and cmd <> 'SELECT'
          and 'true' in (qual, with_check)""",
        "create policy broken on public.notes for delete to visitor using (true)",
    ),
    "0028 anon_security_definer_function_executable": Lint(
        f"""select p.oid::regprocedure from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where {_OURS} and p.prosecdef and has_function_privilege('anon', p.oid, 'execute')""",
        "grant execute on function private.company_id() to anon",
    ),
    "0029 authenticated_security_definer_function_executable, in a schema that is published": Lint(
        """select p.oid::regprocedure from pg_proc p
        where p.prosecdef and p.pronamespace in ('public'::regnamespace, 'auth'::regnamespace)""",
        "create function public.broken() returns integer language sql security definer as 'select 1'",
    ),
}


@pytest.fixture
def lint_db(urls: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(urls.admin) as db:
        db.execute("set search_path = ''")
        yield db
        db.rollback()


@pytest.mark.parametrize("name", LINTS)
def test_the_schema_has_none_of_it(lint_db: psycopg.Connection, name: str) -> None:
    assert lint_db.execute(LINTS[name].finds).fetchall() == []


@pytest.mark.parametrize("name", LINTS)
def test_the_lint_notices_it(lint_db: psycopg.Connection, name: str) -> None:
    lint_db.execute(LINTS[name].breaks)
    assert lint_db.execute(LINTS[name].finds).fetchall() != []


def test_a_callers_search_path_changes_no_word_of_a_message(lint_db: psycopg.Connection) -> None:
    words = "select private.message_words('01a22c21-bd8a-74ca-882d-2e7e80fadd25', 'Buenos días, señora')"
    key = "select private.word_key('01a22c21-bd8a-74ca-882d-2e7e80fadd25')"
    [before], [key_before] = lint_db.execute(words).fetchone(), lint_db.execute(key).fetchone()
    lint_db.execute(
        "create schema hostile;"
        " create function hostile.encode(bytea, text) returns text language sql as $$ select 'evil' $$;"
        " create function hostile.array_to_tsvector(text[]) returns tsvector language sql"
        " as $$ select ''::tsvector $$;"
        " set search_path = hostile, pg_catalog"
    )
    assert lint_db.execute(words).fetchone() == (before,)
    assert lint_db.execute(key).fetchone() == (key_before,)
    assert key_before in str(before)
