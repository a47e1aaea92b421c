"""The schema files are the schema: each object once, and the same database as by the migrations."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pglast
import psycopg
import pytest
from pglast import ast

from neurant.installation.embedded import Urls
from neurant.installation.migrate import MIGRATIONS, migrate
from scripts.catalog import catalog, differences, read
from scripts.migration_lock import read_lock
from scripts.schema_files import BASELINE, SCHEMA, assembled

Database = Callable[[], str]
FILES = sorted(SCHEMA.glob("*.sql"))
LIBRARY = "02_jobs_library.sql"  # the job library's own text
MAX_LINES = 500
MADE_BY_A_CALL = {"audit_rows", "audit_changes"}  # private.audit_table makes these two
NO_SECOND_PLACE = re.compile(
    r"\bcreate or replace\b|\balter policy\b|\badd column\b|\badd constraint\b|\bnot valid\b"
    r"|\bconcurrently\b|^\s*drop ",
    re.MULTILINE,
)


def defined(path: Path) -> Iterator[str]:
    """Kind and name of every object that a schema file defines."""
    for raw in pglast.parse_sql(path.read_text("utf-8")):
        match raw.stmt:
            case ast.CreateFunctionStmt() as made:
                arguments = [
                    f"{given.argType.names[-1].sval}{'[]' * len(given.argType.arrayBounds or ())}"
                    for given in made.parameters or ()
                    if given.mode.name not in ("FUNC_PARAM_TABLE", "FUNC_PARAM_OUT")
                ]
                yield f"function {dotted(made.funcname)}({','.join(arguments)})"
            case ast.CreatePolicyStmt() as made:
                yield f"policy {relation(made.table)}.{made.policy_name}"
            case ast.CreateTrigStmt() as made:
                yield f"trigger {relation(made.relation)}.{made.trigname}"
            case ast.CreateStmt() as made:
                yield f"table {relation(made.relation)}"
            case ast.ViewStmt() as made:
                yield f"view {relation(made.view)}"
            case ast.IndexStmt() as made:
                yield f"index {relation(made.relation).split('.')[0]}.{made.idxname}"
            case ast.CreateEnumStmt() as made:
                yield f"type {dotted(made.typeName)}"
            case ast.CommentStmt() as made:
                yield f"comment {path.read_text('utf-8')[raw.stmt_location :][:200].split(' is')[0]}"


def dotted(names: tuple[ast.String, ...]) -> str:
    return ".".join(name.sval for name in names)


def relation(named: ast.RangeVar) -> str:
    return f"{named.schemaname or 'public'}.{named.relname}"


def test_every_object_is_defined_in_one_place(urls: Urls) -> None:
    found = [name for path in FILES if path.name != LIBRARY for name in defined(path)]
    assert not {name: times for name, times in Counter(found).items() if times > 1}
    with psycopg.connect(urls.admin) as db:
        db.execute("set local search_path = pg_catalog")
        functions = db.execute(
            "select p.pronamespace::regnamespace || '.' || p.proname || '(' || concat_ws(',',"
            " variadic array(select case t.typcategory when 'A' then substr(t.typname, 2) || '[]'"
            " else t.typname end from unnest(p.proargtypes) with ordinality a (o, n)"
            " join pg_type t on t.oid = a.o order by n)) || ')' from pg_proc p"
            " where p.pronamespace::regnamespace::text in ('public', 'private', 'jobs')"
            " and p.proname !~ '^procrastinate'"
        ).fetchall()
        policies = db.execute(
            "select polrelid::regclass || '.' || polname from pg_policy"
        ).fetchall()
        triggers = db.execute(
            "select tgrelid::regclass || '.' || tgname from pg_trigger where not tgisinternal"
            " and tgname <> all (%s) and tgname !~ '^procrastinate'",
            (list(MADE_BY_A_CALL),),
        ).fetchall()
    catalogued = {
        *(f"function {row[0]}" for row in functions),
        *(f"policy {row[0]}" for row in policies),
        *(f"trigger {row[0]}" for row in triggers),
    }
    kinds = ("function ", "policy ", "trigger ")
    assert {name for name in found if name.startswith(kinds)} == catalogued
    assert functions
    assert policies
    assert triggers


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_schema_file_is_read_in_one_sitting_and_repeats_nothing(path: Path) -> None:
    text = path.read_text("utf-8")
    assert path.name == LIBRARY or text.count("\n") <= MAX_LINES
    outside_of_bodies = re.sub(r"\$\$.*?\$\$", "", text, flags=re.DOTALL)
    assert path.name == LIBRARY or not NO_SECOND_PLACE.findall(outside_of_bodies)
    assert text.startswith("-- "), "the first line says what the file is about"


def test_the_baseline_is_assembled_from_the_schema_files() -> None:
    committed = (MIGRATIONS / BASELINE).read_text("utf-8")
    assert BASELINE in read_lock() or committed == assembled(), "run `make schema`"


def test_schema_files_and_migrations_make_the_same_database(
    fresh_database: Database, tmp_path: Path
) -> None:
    by_files, by_migrations = fresh_database(), fresh_database()
    (tmp_path / BASELINE).write_text(assembled(), "utf-8")
    migrate(by_files, tmp_path)
    migrate(by_migrations)
    assert not differences(catalog(by_files), catalog(by_migrations))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("alter table public.users alter column email drop not null", "column public.users.email"),
        ("alter table public.users alter column phone set default 'x'", "column public.users.phone"),
        ("alter table public.industries alter column position type integer", "column public.industries.position"),
        ("alter table public.users drop column phone cascade", "column public.users.phone"),
        ("grant update (phone) on public.users to visitor", "column public.users.phone"),
        ("comment on column public.users.phone is 'x'", "column public.users.phone"),
        ("grant select on public.users to anon", "relation public.users"),
        ("alter table public.users no force row level security", "relation public.users"),
        ("alter table public.users set (fillfactor = 50)", "relation public.users"),
        ("comment on table public.users is 'x'", "relation public.users"),
        ("alter view private.fact_messages set (security_invoker = off)", "relation private.fact_messages"),
        ("alter sequence jobs.procrastinate_jobs_id_seq increment 2", "relation jobs.procrastinate_jobs_id_seq"),
        ("alter table public.users drop constraint users_address_check", "constraint public.users.users_address_check"),
        ("drop index public.users_auth_user_idx", "index public.users_auth_user_idx"),
        ("alter function private.company_id() owner to neurant_owner", "function private.company_id()"),
        ("alter function private.company_id() volatile", "function private.company_id()"),
        ("alter function private.company_id() security invoker", "function private.company_id()"),
        ("alter function private.company_id() set search_path = public", "function private.company_id()"),
        ("grant execute on function private.defer_job(text, jsonb) to visitor", "function private.defer_job(text,jsonb)"),
        ("comment on function private.company_id() is 'x'", "function private.company_id()"),
        ("drop policy staff_select on public.users", "policy public.users.staff_select"),
        ("alter policy staff_select on public.users using (true)", "policy public.users.staff_select"),
        ("alter policy staff_select on public.users to anon", "policy public.users.staff_select"),
        ("drop trigger audit_rows on public.users", "trigger public.users.audit_rows"),
        ("alter table public.users disable trigger audit_rows", "trigger public.users.audit_rows"),
        ("alter type public.user_role_enum add value 'guest'", "type public.user_role_enum"),
        ("grant create on schema public to anon", "schema public"),
        ("alter default privileges for role neurant_owner grant select on tables to anon", "default privileges"),
        ("alter text search configuration private.words drop mapping for email", "text search configuration private.words"),
        ("grant execute on function lo_creat(integer) to public", "system function lo_creat(integer)"),
        ("update public.plans set max_users = 7 where plan = 'free'", "row public.plans"),
        ("create publication everything for all tables", "publication everything"),
    ],
)  # fmt: skip
def test_the_comparison_tells_each_kind_of_difference(urls: Urls, change: str, told: str) -> None:
    with psycopg.connect(urls.admin) as db, db.transaction(force_rollback=True):
        before = read(db, seeds=change.startswith("update"))
        db.execute(change.encode())
        found = differences(before, read(db, seeds=change.startswith("update")))
    assert any(told in line for line in found), found
