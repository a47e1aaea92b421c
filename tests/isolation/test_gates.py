"""What must hold for every table, policy and function: read from the catalog, so that a new one counts."""

from __future__ import annotations

import psycopg
import pytest

from neurant.database.embedded import Urls

GLOBAL_UNIQUES = {
    "api_keys_key_digest_key",
    "channel_accounts_routing_id_key",
    "companies_slug_key",
    "login_sessions_token_digest_key",
    "user_invitations_token_digest_key",
    "visitor_sessions_token_digest_key",
}
PLATFORM_TABLES = ["chatbot_templates", "embedding_models", "plans"]


@pytest.fixture
def db(urls: Urls):
    with psycopg.connect(urls.admin) as connection:
        yield connection


def names(db: psycopg.Connection, query: str, params: tuple[object, ...] = ()) -> list[str]:
    return [row[0] for row in db.execute(query, params or None).fetchall()]


def test_every_table_enables_and_forces_row_security_and_has_policies(
    db: psycopg.Connection,
) -> None:
    assert not names(
        db,
        "select c.relname from pg_class c where c.relnamespace = 'public'::regnamespace"
        " and c.relkind in ('r', 'p') and not (c.relrowsecurity and c.relforcerowsecurity"
        " and exists (select from pg_policy p where p.polrelid = c.oid))",
    )


def test_every_policy_is_for_one_command_and_for_named_roles(db: psycopg.Connection) -> None:
    assert not names(
        db,
        "select tablename || '.' || policyname from pg_policies where schemaname = 'public'"
        " and (cmd = 'ALL' or roles = '{public}' or roles = '{anon}')",
    )


def test_no_policy_calls_a_function_per_row(db: psycopg.Connection) -> None:
    """Each call of ours stands alone in a scalar subquery, which the planner runs once."""
    policies = db.execute(
        "select tablename || '.' || policyname, coalesce(qual, '') || ' ' || coalesce(with_check, '')"
        " from pg_policies where schemaname = 'public'"
    ).fetchall()
    assert len(policies) > 50
    for name, text in policies:
        assert text.count("private.") == text.count("( SELECT private."), name


def test_no_query_in_a_function_calls_a_helper_per_row(db: psycopg.Connection) -> None:
    """A comparison with a bare call runs it for every row that the scan meets."""
    assert not names(
        db,
        r"select p.proname from pg_proc p where p.pronamespace = 'private'::regnamespace"
        r" and p.prosrc ~ '([^:]=|any \() ?private\.'",
    )


def test_every_definer_is_the_routers_pins_its_search_path_and_says_why(
    db: psycopg.Connection,
) -> None:
    rows = db.execute(
        "select p.proname, pg_get_userbyid(p.proowner), p.proconfig,"
        " obj_description(p.oid, 'pg_proc') from pg_proc p"
        " where p.pronamespace = 'private'::regnamespace and p.prosecdef"
    ).fetchall()
    assert len(rows) > 20
    for name, owner, config, comment in rows:
        assert owner == "neurant_router", name
        assert config in (['search_path=""'], ["search_path=jobs, pg_temp"]), name
        assert "efiner" in (comment or ""), f"{name} does not say why"


def test_nothing_of_ours_is_executable_by_everybody(db: psycopg.Connection) -> None:
    assert not names(
        db,
        "select p.proname from pg_proc p where p.pronamespace in ('private'::regnamespace, 'jobs'::regnamespace)"
        " and has_function_privilege('anon', p.oid, 'execute')",
    )


def test_no_role_that_serves_traffic_bypasses_row_security_or_owns_anything(
    db: psycopg.Connection,
) -> None:
    roles = ["neurant_app", "neurant_jobs", "authenticated", "visitor", "neurant_worker", "anon"]
    bypassing = "select rolname from pg_roles where rolname in ({}) and (rolbypassrls or rolsuper or rolinherit and rolcanlogin)"
    listed = ", ".join(f"'{role}'" for role in [*roles, "neurant_router", "neurant_owner"])
    assert not names(db, bypassing.format(listed))
    owning = "select c.relname from pg_class c where pg_get_userbyid(c.relowner) in ({})"
    assert not names(db, owning.format(", ".join(f"'{role}'" for role in roles)))


def test_every_foreign_key_between_tenant_tables_carries_the_company(
    db: psycopg.Connection,
) -> None:
    rows = db.execute(
        "select k.conname, k.conrelid::regclass::text, k.confrelid::regclass::text,"
        " (select array_agg(a.attname::text) from pg_attribute a where a.attrelid = k.conrelid and a.attnum = any (k.conkey))"
        " from pg_constraint k where k.contype = 'f' and k.connamespace = 'public'::regnamespace"
    ).fetchall()
    assert len(rows) > 25
    for name, table, target, columns in rows:
        if target not in ("auth.users", *PLATFORM_TABLES):
            assert "company_id" in columns, f"{table}.{name} could point into another company"


def test_every_foreign_key_has_an_index(db: psycopg.Connection) -> None:
    assert not names(
        db,
        "select k.conrelid::regclass || '.' || k.conname from pg_constraint k"
        " where k.contype = 'f' and k.connamespace = 'public'::regnamespace and not exists ("
        "  select from pg_index i where i.indrelid = k.conrelid"
        "  and (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey"
        "  or i.indrelid = k.conrelid and (i.indkey::int2[])[0:1] <@ k.conkey and cardinality(k.conkey) > 2)",
    )


def test_only_the_listed_unique_constraints_are_global(db: psycopg.Connection) -> None:
    found = names(
        db,
        "select i.indexrelid::regclass::text from pg_index i join pg_class c on c.oid = i.indrelid"
        " where c.relnamespace = 'public'::regnamespace and i.indisunique and not i.indisprimary"
        " and c.relname <> all (%s)"
        " and not exists (select from pg_attribute a where a.attrelid = c.oid"
        "  and a.attname = 'company_id' and a.attnum = any (i.indkey))",
        (PLATFORM_TABLES,),
    )
    assert set(found) == GLOBAL_UNIQUES
