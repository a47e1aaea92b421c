"""What must hold for every table, policy and function: read from the catalog, so that a new one counts.

The rules are the product's (``neurant/verify/catalog_rules.py``): ``neurant verify`` tells them too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from neurant.verify.catalog_rules import RULES
from neurant.verify.run import Matrix, catalog_rules
from tests.isolation.proving_ground import prepared

OBJECTS = "objects.txt is what the database has"
# What some of the breaks stand on.
BEFORE = """
create role grafana;
create function private.watch() returns event_trigger language plpgsql as 'begin end';
create function private.alike(uuid, text) returns boolean language sql as 'select true';
"""


@pytest.fixture(scope="module")
def matrix(make_migrated_database: Callable[[], str]) -> Iterator[Matrix]:
    yield from prepared(make_migrated_database())


def test_every_rule_of_the_catalog_holds(matrix: Matrix) -> None:
    """A list that differs: `python -m neurant.verify.lists URL`, and read what changed."""
    told = [cell for cell in catalog_rules(matrix) if cell.area == "catalog_rules"]
    assert len(told) >= len(RULES)
    assert {cell.object: cell.found for cell in told if not cell.ok} == {}


def test_no_policy_calls_a_function_once_per_row_whoever_reads(matrix: Matrix) -> None:
    plans = [cell for cell in catalog_rules(matrix) if cell.area == "plans"]
    assert {cell.principal for cell in plans} >= {
        "owner",
        "operador",
        "visitor",
        "worker",
        "router",
    }
    assert {cell.object for cell in plans} >= {"public.messages", "public.conversations"}
    assert [cell for cell in plans if not cell.ok] == []


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        ("alter table messages no force row level security", "row security is enabled and forced"),
        ("create view seen as select 1 as one", "a view shows what its reader may see"),
        (
            "create policy everything on notes to authenticated using (true)",
            "a policy is for one command and for named roles",
        ),
        ("drop policy staff_update on documents", "every granted command has a policy"),
        (
            "alter policy staff_select on notes using (company_id = (select private.company_id()) or true)",
            "a policy of the served holds to the company",
        ),
        (
            "alter policy staff_select on notes using (company_id = private.company_id())",
            "a policy calls our functions once per statement",
        ),
        (
            "alter function private.user_id() reset search_path",
            "every definer pins its search_path",
        ),
        (
            "comment on function private.user_id() is 'Somebody.'",
            "a definer is the router's and says why",
        ),
        ("alter table messages disable trigger number_message", "every trigger is on"),
        ("drop index messages_sender_idx", "every foreign key has an index"),
        (
            "alter table notes add constraint far foreign key (chatbot_id, company_id)"
            " references chatbots (id, company_id) not valid",
            "every index is valid and every constraint validated",
        ),
        (
            "create unique index everywhere on notes (content)",
            "what is unique is so within a company",
        ),
        ("grant neurant_worker to neurant_app", "each login becomes only what it must"),
        ("grant select on outbox to visitor", "grants.txt is what the database has"),
        ("grant select on notes to neurant_worker with grant option", OBJECTS),
        ("grant execute on function private.user_id() to visitor with grant option", OBJECTS),
        ("grant create on schema private to neurant_app", OBJECTS),
        ("grant create on schema public to public", OBJECTS),
        ("grant usage on schema jobs to authenticated", OBJECTS),
        ("alter schema private owner to neurant_app", OBJECTS),
        (
            "do $$ begin execute format('grant create on database %I to neurant_jobs',"
            " current_database()); end $$",
            OBJECTS,
        ),
        (
            "do $$ begin execute format('grant temp on database %I to visitor',"
            " current_database()); end $$",
            OBJECTS,
        ),
        (
            "do $$ begin execute format('alter database %I owner to neurant_app',"
            " current_database()); end $$",
            OBJECTS,
        ),
        ("grant usage on language plpgsql to authenticated", OBJECTS),
        ("create language another handler plpgsql_call_handler", OBJECTS),
        ("create extension hstore schema extensions", OBJECTS),
        ("create publication everything for all tables", OBJECTS),
        ("create publication one for table messages", OBJECTS),
        (
            "create subscription far connection 'host=127.0.0.1' publication p"
            " with (connect = false, slot_name = none)",
            OBJECTS,
        ),
        ("select lo_create(0)", OBJECTS),
        ("create foreign data wrapper far", OBJECTS),
        (
            "create foreign data wrapper far; create server far foreign data wrapper far;"
            " create user mapping for public server far",
            OBJECTS,
        ),
        ("create rule quiet as on delete to notes do instead nothing", OBJECTS),
        ("create event trigger watch on ddl_command_end execute function private.watch()", OBJECTS),
        (
            "alter default privileges for role neurant_owner grant select on tables to neurant_jobs",
            OBJECTS,
        ),
        (
            "alter default privileges for role neurant_owner grant usage on types to grafana",
            OBJECTS,
        ),
        ("grant pg_read_all_data to authenticated", OBJECTS),
        ("grant neurant_owner to grafana", OBJECTS),
        ("grant neurant_router to neurant_worker", OBJECTS),
        ("grant authenticated to neurant_app with admin option", OBJECTS),
        ("alter role neurant_app createrole", OBJECTS),
        ("alter role visitor login", OBJECTS),
        ("alter role neurant_app set row_security = off", OBJECTS),
        ("alter role all set search_path = 'extensions'", OBJECTS),
        (
            "do $$ begin execute format('alter database %I set role = neurant_owner',"
            " current_database()); end $$",
            OBJECTS,
        ),
        ("grant set on parameter session_preload_libraries to neurant_app", OBJECTS),
        ("grant execute on function pg_catalog.pg_read_file(text) to authenticated", OBJECTS),
        ("grant select on pg_catalog.pg_authid to neurant_app", OBJECTS),
        ("grant select (rolpassword) on pg_catalog.pg_authid to neurant_app", OBJECTS),
        ("grant update on sequence jobs.procrastinate_jobs_id_seq to authenticated", OBJECTS),
        ("create cast (text as integer) with inout as implicit", OBJECTS),
        (
            "create operator public.= (leftarg = uuid, rightarg = text, function = private.alike)",
            OBJECTS,
        ),
        (
            'create collation public.loose from pg_catalog."C"',
            OBJECTS,
        ),
        ("create domain public.anything as text", OBJECTS),
        ("create aggregate private.most(integer) (sfunc = int4larger, stype = integer)", OBJECTS),
        ("create function extensions.peek() returns integer language sql as 'select 1'", OBJECTS),
        ("create table extensions.kept (secret text)", OBJECTS),
        ("create table heir () inherits (notes)", OBJECTS),
        ("alter table notes drop constraint notes_content_check", OBJECTS),
        ("create policy wide on auth.users using (true)", OBJECTS),
        ("alter function private.user_id() leakproof", OBJECTS),
        ("alter function private.user_id() parallel safe", OBJECTS),
        ("alter function private.company_id(text) volatile", OBJECTS),
        ("alter table notes alter content drop not null", OBJECTS),
        ("alter table notes replica identity full", OBJECTS),
        ("create schema kept; create table kept.notes as select * from public.notes", OBJECTS),
        ("create index another on notes (content)", OBJECTS),
    ],
)
def test_each_rule_notices_what_breaks_it(matrix: Matrix, broken: str, rule: str) -> None:
    with matrix.connection.transaction(force_rollback=True):
        matrix.connection.execute("select set_config('search_path', 'public', true)")
        if "far foreign key" in broken:
            matrix.connection.execute("create unique index on chatbots (id, company_id)")
        if rule == OBJECTS:
            matrix.connection.execute(BEFORE)
        matrix.connection.execute(broken.encode())
        noticed = {cell.object for cell in catalog_rules(matrix) if not cell.ok}
    assert rule in noticed


def test_a_plan_with_a_helper_per_row_is_noticed(matrix: Matrix) -> None:
    with matrix.connection.transaction(force_rollback=True):
        matrix.connection.execute(
            "alter policy staff_select on public.notes using (company_id = private.company_id())"
        )
        noticed = [cell for cell in catalog_rules(matrix) if cell.area == "plans" and not cell.ok]
    assert {cell.object for cell in noticed} == {"public.notes"}


def test_nobody_but_a_login_that_bypasses_row_security_verifies(urls: object) -> None:
    with psycopg.connect(urls.app) as db:  # type: ignore[attr-defined]
        assert db.execute(
            "select rolbypassrls from pg_roles where rolname = session_user"
        ).fetchone() == (False,)
