"""Nothing escapes audit unnoticed, and nobody writes it: read from the catalog."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from neurant.installation.embedded import Urls
from tests.audit.reading import acting, claims_of
from tests.companies import ROLES, make_company

# Every other table of companies, and why its changes leave no line. A new table must choose.
NOT_AUDITED = {
    "analytics_daily": "derived from the facts",
    "analytics_dirty": "a queue of the system's",
    "archive_batches": "is itself the manifest of the archive",
    "audit_chains": "audit itself",
    "audit_logs": "audit itself",
    "audit_salts": "audit itself",
    "audit_seals": "audit itself",
    "audit_unsealed": "audit itself",
    "billing_events": "only ever appended to; what they change is audited",
    "contacts": "follows conversations, which are their own history",
    "conversation_search": "derived from the facts",
    "conversations": "is its own history",
    "conversations_archived": "is its own history",
    "document_chunks": "derived from documents",
    "hitl_sessions_archived": "the takeover was audited when it happened",
    "hitl_transfers_archived": "the transfer was audited when it happened",
    "idempotency_keys": "answers that are kept for a day",
    "inbound_events": "only ever appended to",
    "integration_logs": "only ever appended to",
    "knowledge_queries": "only ever appended to",
    "knowledge_queries_archived": "only ever appended to",
    "knowledge_uses": "a queue of the system's",
    "language_model_usage": "counters of the system's",
    "mails": "a queue of the system's",
    "message_changes": "a queue of the system's",
    "message_reactions": "is its own history",
    "message_reactions_archived": "is its own history",
    "message_search": "derived from the facts",
    "messages": "is its own history",
    "messages_archived": "is its own history",
    "notes": "only ever appended to, with its author",
    "notes_archived": "only ever appended to, with its author",
    "notifications": "what the system tells people",
    "onboarding": "moments of the set-up, whose steps are audited themselves",
    "outbox": "a queue of the system's",
    "outbox_archived": "a queue of the system's",
    "plan_alerts": "what the system tells people",
    "request_allowances": "counters of the system's",
    "reply_requests": "a queue of the system's",
    "sso_attempts": "ten minutes long; the login that comes of it is audited",
    "system_metrics": "measures of the system",
    "usage_slots": "counters of the system's",
    "visitor_sessions": "a visitor, who is no staff",
    "webhook_deliveries": "a queue of the system's",
}
OWN_PLACE = {"company_id", "id"}  # the audit row's company_id and resource_id


@pytest.fixture
def db(urls: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(urls.admin) as connection:
        yield connection


def lists_of(db: psycopg.Connection) -> dict[str, list[list[str]]]:
    """By audited table: the arguments of its trigger (subject, shown, digest, hidden, left out)."""
    rows = db.execute(
        "select tgrelid::regclass::text, string_to_array(encode(tgargs, 'escape'), '\\000')"
        " from pg_trigger where tgname = 'audit_rows'"
    ).fetchall()
    return {
        table: [
            arguments[:1],
            *([c for c in a.strip("{}").split(",") if c] for a in arguments[1:5]),
        ]
        for table, arguments in rows
    }


def columns_of(db: psycopg.Connection, table: str) -> set[str]:
    query = (
        "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0"
        " and not attisdropped"
    )
    return {name for (name,) in db.execute(query, (f"public.{table}",)).fetchall()}


def test_every_table_of_companies_is_audited_or_says_why_not(db: psycopg.Connection) -> None:
    tenant = db.execute(
        "select c.relname from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')"
        " and (c.relname = 'companies' or exists (select from pg_attribute a"
        "  where a.attrelid = c.oid and a.attname = 'company_id'))"
    ).fetchall()
    audited = set(lists_of(db))
    assert not audited & set(NOT_AUDITED)
    unclassified = {table for (table,) in tenant} - audited - set(NOT_AUDITED)
    assert not unclassified, "audit these (private.audit_table) or say here why not"


def test_every_column_of_an_audited_table_is_in_one_list(db: psycopg.Connection) -> None:
    for table, (subject, *lists) in lists_of(db).items():
        listed = [column for columns in lists for column in columns]
        assert len(listed) == len(set(listed)), f"{table}: a column is in two lists"
        missing = columns_of(db, table) - set(listed) - OWN_PLACE
        assert not missing, f"{table}: shown, digest, hidden or left out (private.audit_column)?"
        assert set(subject) <= columns_of(db, table)


def test_a_change_of_any_column_that_matters_is_noticed(db: psycopg.Connection) -> None:
    for table, (_, shown, digest, hidden, _left_out) in lists_of(db).items():
        [(definition,)] = db.execute(
            "select pg_get_triggerdef(oid) from pg_trigger where tgname = 'audit_changes'"
            " and tgrelid = %s::regclass and tgenabled = 'O'",
            (f"public.{table}",),
        ).fetchall()
        watched = set(re.findall(r"old\.(\w+)", definition.split(" EXECUTE ")[0]))
        assert watched == {*shown, *digest, *hidden} & columns_of(db, table), table


def test_secrets_are_never_shown(db: psycopg.Connection) -> None:
    """Bytes, ciphertext and digests of secrets are hidden, whatever a table calls them."""
    for table, (_, shown, digest, _hidden, _left_out) in lists_of(db).items():
        raw = db.execute(
            "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0"
            " and atttypid = 'bytea'::regtype",
            (f"public.{table}",),
        ).fetchall()
        told = {*shown, *digest}
        assert not {name for (name,) in raw} & told, table
        suspicious = re.compile("secret|encrypted|token|password|digest|credential")
        assert not {name for name in told if suspicious.search(name)}, table


def test_personal_columns_are_never_in_clear(db: psycopg.Connection) -> None:
    personal = {"email", "phone", "first_name", "last_name", "ip_address", "user_agent"}
    for table, (_, shown, *_rest) in lists_of(db).items():
        assert not personal & set(shown), table
    assert "avatar_url" not in lists_of(db)["users"][1]


# Text that is shown, and why nobody can write a name into it.
SHOWN_TEXT = {
    ("api_keys", "scopes"): "checked by a trigger: names of permissions",
    ("users", "permissions"): "names of permissions, written by set_user_permissions() alone",
    ("api_keys", "prefix"): "made by the system",
    ("companies", "timezone"): "checked: a time zone",
    ("companies", "size"): "checked: one of a few words",
    ("chatbots", "timezone"): "checked: a time zone",
    ("channel_accounts", "status"): "checked: one of a few words",
    ("documents", "file_type"): "checked: one of a few words",
    ("hitl_sessions", "status"): "checked: one of a few words",
    ("hitl_sessions", "reason"): "checked: one of a few words",
    ("hitl_transfers", "status"): "checked: one of a few words",
    ("hitl_transfers", "kind"): "checked: one of a few words",
    ("plan_requests", "status"): "checked: one of a few words",
    ("sso_domains", "proven_by"): "checked: one of a few words",
}


def test_no_text_that_people_write_is_shown(db: psycopg.Connection) -> None:
    """It may name anybody, and audit could never be made to forget it."""
    kinds = (
        "select a.attname, (t.typtype = 'e' or t.typcategory in ('N', 'B', 'D') or t.typname = 'uuid'),"
        " exists (select from pg_constraint k where k.conrelid = a.attrelid and k.contype = 'c'"
        "  and a.attnum = any (k.conkey))"
        " from pg_attribute a join pg_type t on t.oid = a.atttypid"
        " where a.attrelid = %s::regclass and a.attnum > 0 and not a.attisdropped"
    )
    told = set()
    for table, (_, shown, *_rest) in lists_of(db).items():
        for column, harmless, checked in db.execute(kinds, (f"public.{table}",)).fetchall():
            if column in shown and not harmless:
                told.add((table, column))
                reason = SHOWN_TEXT.get((table, column), "")
                assert reason, f"{table}.{column} is shown: digest it (private.audit_column)"
                assert checked or not reason.startswith("checked"), (table, column)
    assert told == set(SHOWN_TEXT)


def test_a_migration_adds_a_column_with_one_call(db: psycopg.Connection) -> None:
    db.execute("alter table public.users add column nickname text")
    assert "nickname" not in {c for columns in lists_of(db)["users"] for c in columns}
    for treatment, place in (("shown", 1), ("digest", 2), ("hidden", 3), ("left_out", 4)):
        db.execute("set local role neurant_owner")
        db.execute("select private.audit_column('public.users', 'nickname', %s)", (treatment,))
        db.execute("reset role")
        lists = lists_of(db)["users"]
        assert [n for n, columns in enumerate(lists) if "nickname" in columns] == [place]
    db.rollback()


def test_the_message_path_carries_no_audit(db: psycopg.Connection) -> None:
    hot = ("messages", "conversations", "outbox", "reply_requests", "inbound_events")
    carried = db.execute(
        "select tgrelid::regclass::text from pg_trigger where tgname like 'audit%%'"
        " and tgrelid = any (%s::regclass[])",
        (list(hot),),
    ).fetchall()
    assert carried == []


AUDIT = ("audit_logs", "audit_seals", "audit_chains", "audit_salts", "audit_unsealed")


def test_no_role_may_change_or_remove_audit(db: psycopg.Connection) -> None:
    for table in ("audit_logs", "audit_seals"):
        for role in (
            "neurant_app", "neurant_jobs", "authenticated", "visitor", "neurant_worker", "anon",
            "neurant_router",
        ):  # fmt: skip
            for right in ("update", "delete", "truncate"):
                may = "select has_table_privilege(%s, %s, %s)"
                assert db.execute(may, (role, f"public.{table}", right)).fetchone() == (False,)
            may = "select has_any_column_privilege(%s, %s, 'update')"
            assert db.execute(may, (role, f"public.{table}")).fetchone() == (False,)
        policies = db.execute(
            "select count(*) from pg_policies where tablename = %s and cmd in ('UPDATE', 'DELETE', 'ALL')",
            (table,),
        ).fetchone()
        assert policies == (0,)


def test_only_the_router_inserts_and_only_managers_read(db: psycopg.Connection) -> None:
    found = db.execute(
        "select table_name, privilege_type, array_agg(grantee::text order by grantee)"
        " from information_schema.role_table_grants where table_name = any (%s)"
        " and grantee not in ('neurant_owner', 'postgres') group by 1, 2",
        (list(AUDIT),),
    ).fetchall()
    who = {(table, right): set(roles) for table, right, roles in found}
    for table in AUDIT:
        assert who.get((table, "INSERT")) == {"neurant_router"}
    readable = {table for (table, right), roles in who.items() if right == "SELECT" and "authenticated" in roles}  # fmt: skip
    assert readable == {"audit_logs", "audit_seals", "audit_chains"}


@pytest.mark.parametrize("table", ["audit_logs", "audit_seals"])
@pytest.mark.parametrize("statement", ["update {} set company_id = company_id", "delete from {}", "truncate {}"])  # fmt: skip
def test_not_even_the_migrating_login_changes_it_by_mistake(
    db: psycopg.Connection, table: str, statement: str
) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute(sql.SQL(statement).format(sql.Identifier(table)))


def test_only_functions_of_the_routers_can_write_a_line(db: psycopg.Connection) -> None:
    """What a login or a role may call that writes audit: the triggers, and a refused login."""
    callable_by = db.execute(
        "select p.proname from pg_proc p where p.pronamespace = 'private'::regnamespace"
        " and p.prosrc ~ '(write_audit|audit_logs|audit_salts|personal_digest|shred_audit)'"
        " and exists (select from unnest(array['neurant_app', 'neurant_jobs', 'authenticated',"
        "  'visitor', 'neurant_worker', 'anon']) r where has_function_privilege(r, p.oid, 'execute'))"
    ).fetchall()
    assert {name for (name,) in callable_by} == {
        "audit_digest_of",
        "import_conversations",
        "finish_sso",
        "note_denied",
        "note_export",
        "note_refused_login",
        "seal_audit",
    }


def test_staff_by_role(urls: Urls) -> None:
    acme, rival = make_company(urls.admin, "acme"), make_company(urls.admin, "rival")
    for role in ROLES:
        with acting(urls.app, "authenticated", claims_of(acme, role)) as staff:
            seen = {one for (one,) in staff.execute("select company_id from audit_logs").fetchall()}
            assert seen == ({acme.id} if role in ("owner", "administrador") else set())
            assert rival.id not in seen
            own = acme.people[role]
            digest = "select private.audit_digest_of(%s, %s)"
            [(told,)] = staff.execute(digest, (own.id, own.email)).fetchall()
            assert (told is not None) == (role in ("owner", "administrador"))
            theirs = rival.people["owner"]
            assert staff.execute(digest, (theirs.id, theirs.email)).fetchone() == (None,)
    for url, role in ((urls.app, "visitor"), (urls.jobs, "neurant_worker")):
        claims = json.dumps({"company_id": str(acme.id)})
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege),
            acting(url, role, claims) as other,
        ):
            other.execute("select 1 from audit_logs")
