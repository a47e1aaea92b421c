"""Every change that matters leaves exactly one line: who, what, before and after."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.audit.reading import Line, acting, claims_of, lines_since, newest
from tests.companies import Company, make_company

SECRET = secrets.token_hex(32)
SEALED = f'{{"sealed": "{SECRET}"}}'
PERSON = "persona-muy-particular"

# Per table: what makes a row (with an id of our own), a change of it, and the actions that audit tells.
CHANGES: dict[str, tuple[str, str, tuple[str, str, str]]] = {
    "companies": (
        "(id, name, slug, email, phone) values (%(id)s, 'Nueva', %(mark)s, %(mail)s, %(person)s)",
        "name = 'Renovada', phone = %(person)s || 'x'",
        ("create", "update", "delete"),
    ),
    "users": (
        "(company_id, id, email, first_name, last_name, role) values (%(company)s, %(id)s, %(mail)s, %(person)s, %(person)s, 'supervisor')",
        "role = 'administrador', first_name = %(person)s || 'x'",
        ("create", "update", "delete"),
    ),
    "user_invitations": (
        "(company_id, id, email, first_name, invited_by, token_digest) values (%(company)s, %(id)s, %(mail)s, %(person)s, %(owner)s, %(secret)s)",
        "role = 'supervisor', token_digest = sha256(%(secret)s)",
        ("create", "update", "delete"),
    ),
    "login_sessions": (
        "(company_id, id, user_id, token_digest, ip_address, user_agent, expires_at) values (%(company)s, %(id)s, %(owner)s, %(secret)s, '203.0.113.77', 'Agente', now() + '1 hour')",
        "expires_at = now() + '2 hours'",
        ("login", "update", "logout"),
    ),
    "api_keys": (
        "(company_id, id, name, prefix, key_digest, role, created_by) values (%(company)s, %(id)s, 'k', 'na_1', %(secret)s, 'supervisor', %(owner)s)",
        "revoked_at = now()",
        ("create", "update", "delete"),
    ),
    "billing_accounts": (
        "(company_id, id, customer_ref) values (%(company)s, %(id)s, 'cus_' || left(%(hex)s, 20))",
        "cancels_at_end = true",
        ("create", "update", "delete"),
    ),
    "plan_requests": (
        "(company_id, id, plan, requested_by) values (%(company)s, %(id)s, 'business', %(owner)s)",
        "status = 'withdrawn', decided_at = now()",
        ("create", "update", "delete"),
    ),
    "company_keys": (
        "(company_id, wrapped_key) values (%(company)s, %(secret)s)",
        "wrapped_key = sha256(%(secret)s)",
        ("create", "update", "delete"),
    ),
    "chatbots": (
        "(company_id, id, name, system_prompt, channel_configs, created_by) values (%(company)s, %(id)s, %(mark)s, 'Di.', %(sealed)s, %(owner)s)",
        "system_prompt = 'Calla.', channel_configs = '{}'",
        ("create", "update", "delete"),
    ),
    "chatbot_operators": (
        "(company_id, id, chatbot_id, operator_id, assigned_by) values (%(company)s, %(id)s, %(spare)s, %(operador)s, %(owner)s)",
        "is_active = false",
        ("assign", "unassign", "unassign"),
    ),
    "chatbot_supervisors": (
        "(company_id, id, chatbot_id, supervisor_id, assigned_by) values (%(company)s, %(id)s, %(spare)s, %(supervisor)s, %(owner)s)",
        "assigned_by = %(administrador)s",
        ("assign", "assign", "unassign"),
    ),
    "channel_accounts": (
        "(company_id, id, chatbot_id, channel, routing_id, display_name, secret_digest, secrets_encrypted) values (%(company)s, %(id)s, %(bot)s, 'telegram', %(mark)s, '@b', %(secret)s, %(secret)s)",
        "status = 'paused', secrets_encrypted = sha256(%(secret)s)",
        ("create", "update", "delete"),
    ),
    "documents": (
        "(company_id, id, filename, original_filename, file_type, file_size_bytes, file_url, content_digest, extracted_text, uploaded_by) values (%(company)s, %(id)s, 'a', 'a.txt', 'txt', 1, 'x', %(secret)s, 'texto largo', %(owner)s)",
        "title = 'Precios'",
        ("upload_document", "update", "delete"),
    ),
    "canned_responses": (
        "(company_id, id, owner_id, shortcut, content) values (%(company)s, %(id)s, %(owner)s, 'hola', 'Hola')",
        "content = 'Buenas'",
        ("create", "update", "delete"),
    ),
    "integrations": (
        "(company_id, id, name, integration_type, config, api_key_encrypted, created_by) values (%(company)s, %(id)s, %(mark)s, 'airtable', %(sealed)s, %(hex)s, %(owner)s)",
        "sync_status = 'success', last_sync_at = now(), api_key_encrypted = 'otra'",
        ("create", "integration_sync", "delete"),
    ),
    "language_models": (
        "(company_id, base_url, model, api_key_encrypted) values (%(company)s, 'https://x.example/' || %(hex)s, 'm', %(secret)s)",
        "monthly_tokens = 5, api_key_encrypted = sha256(%(secret)s)",
        ("create", "update", "delete"),
    ),
    "webhook_endpoints": (
        "(company_id, id, url, events, secret_encrypted, created_by) values (%(company)s, %(id)s, 'https://x.example/' || %(hex)s, '{a}', %(secret)s, %(owner)s)",
        "is_active = false, url = 'https://y.example/' || %(hex)s",
        ("create", "update", "delete"),
    ),
    "sso_connections": (
        "(company_id, id, name, issuer, client_id, client_secret_encrypted, created_by) values (%(company)s, %(id)s, 'Entra', 'https://x.example/' || %(hex)s, 'c', %(secret)s, %(owner)s)",
        "default_role = 'operador', client_secret_encrypted = sha256(%(secret)s)",
        ("create", "update", "delete"),
    ),
    "sso_domains": (
        "(company_id, id, connection_id, domain, token) values (%(company)s, %(id)s, %(connection)s, %(mark)s || '.example', 't')",
        "domain = %(mark)s || '.test'",
        ("create", "update", "delete"),
    ),
    "external_identities": (
        "(company_id, id, connection_id, subject, user_id) values (%(company)s, %(id)s, %(connection)s, %(person)s, %(owner)s)",
        "subject = %(person)s || 'x'",
        ("create", "update", "delete"),
    ),
    "hitl_sessions": (
        "(company_id, id, conversation_id, chatbot_id, reason, reason_detail) values (%(company)s, %(id)s, %(conversation)s, %(bot)s, 'manual', %(person)s)",
        "resolution_notes = %(person)s || 'x'",
        ("escalate_hitl", "update", "delete"),
    ),
    "hitl_transfers": (
        "(company_id, id, session_id, conversation_id, chatbot_id, from_user_id, to_user_id, reason) values (%(company)s, %(id)s, %(session)s, %(other_conversation)s, %(bot)s, %(operador)s, %(supervisor)s, %(person)s)",
        "reason = %(person)s || 'x'",
        ("transfer", "update", "delete"),
    ),
}  # fmt: skip
NOT_BY_ITSELF = {
    "company_keys",  # has no id of its own
    "companies",  # is the company itself
}


@pytest.fixture(scope="module")
def acme(urls: Urls) -> Company:
    return make_company(urls.admin, "acme")


@pytest.fixture(scope="module")
def rival(urls: Urls) -> Company:
    return make_company(urls.admin, "rival")


@pytest.fixture
def db(urls: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(urls.admin) as connection:
        yield connection


def conversation(db: psycopg.Connection, company: Company) -> UUID:
    return db.execute(
        "insert into conversations (company_id, chatbot_id, channel_account_id, end_user_id, channel)"
        " select a.company_id, a.chatbot_id, a.id, gen_random_uuid()::text, a.channel"
        " from channel_accounts a where a.routing_id = %s returning id",
        (company.web,),
    ).fetchone()[0]


def values(db: psycopg.Connection, company: Company) -> dict[str, Any]:
    spare = db.execute(
        "insert into chatbots (company_id, name, system_prompt, created_by) values (%s, %s, 'x', %s) returning id",
        (company.id, f"Libre {uuid4()}", company.people["owner"].id),
    ).fetchone()[0]
    one, other = conversation(db, company), conversation(db, company)
    session = db.execute(
        "insert into hitl_sessions (company_id, conversation_id, chatbot_id, reason) values (%s, %s, %s, 'manual') returning id",
        (company.id, other, company.bot_id),
    ).fetchone()[0]
    mark = uuid4().hex
    connection = db.execute(
        "insert into sso_connections (company_id, name, issuer, client_id, created_by) values (%s, 'x', 'https://x.example', %s, %s) returning id",
        (company.id, mark, company.people["owner"].id),
    ).fetchone()[0]
    return {
        "company": company.id, "bot": company.bot_id, "spare": spare, "id": uuid4(), "mark": f"n-{mark}",
        "mail": f"{PERSON}@{mark}.example", "person": PERSON, "secret": bytes.fromhex(SECRET),
        "hex": SECRET, "sealed": SEALED, "conversation": one, "other_conversation": other,
        "session": session, "connection": connection,
        **{role: person.id for role, person in company.people.items()},
    }  # fmt: skip


def test_the_changes_below_are_of_every_audited_table(db: psycopg.Connection) -> None:
    audited = db.execute(
        "select tgrelid::regclass::text from pg_trigger where tgname = 'audit_rows'"
    ).fetchall()
    assert {table for (table,) in audited} == set(CHANGES)


@pytest.mark.parametrize("table", CHANGES)
def test_making_changing_and_removing_a_row_leaves_one_line_each(
    urls: Urls, acme: Company, rival: Company, table: str
) -> None:
    make, change, actions = CHANGES[table]
    with psycopg.connect(urls.admin) as db:
        known = values(db, acme)
        if table == "company_keys":
            db.execute("delete from company_keys where company_id = %s", (acme.id,))
    has_no_id = table in ("company_keys", "language_models")
    where = "company_id = %(company)s" if has_no_id else "id = %(id)s"
    told: list[Line] = []
    for statement in (
        f"insert into {table} {make}",
        f"update {table} set {change} where {where}",
        f"delete from {table} where {where}",
    ):
        with psycopg.connect(urls.admin) as db:
            mark = newest(db)
            assert db.execute(statement, known).rowcount == 1
            mine = [one for one in lines_since(db, mark) if one.resource_type == table]
            assert len(mine) == 1, f"{statement}: {mine}"
            told += mine
    assert tuple(one.action for one in told) == actions
    for one in told:
        assert one.company_id == (known["id"] if table == "companies" else acme.id)
        assert one.resource_id == (None if has_no_id else known["id"])
        assert one.details["by"] == ("staff" if one.action == "login" else "database")
    made, changed, removed = told
    assert made.details["before"] == removed.details["after"] == {}
    assert set(changed.details["before"]) <= set(changed.details["after"]) | set(
        made.details["after"]
    )
    if table not in NOT_BY_ITSELF:
        assert changed.details["after"] or changed.details["hidden"]
    everything = json.dumps([[one.details, one.user_email] for one in told])
    assert SECRET not in everything
    assert hashlib.sha256(bytes.fromhex(SECRET)).hexdigest() not in everything
    assert PERSON not in everything
    assert "203.0.113.77" not in everything
    with acting(urls.app, "authenticated", claims_of(rival, "owner")) as other:
        seen = other.execute("select id from audit_logs").fetchall()
    assert not {(one.id,) for one in told} & set(seen)


def test_a_change_tells_what_was_and_what_is(db: psycopg.Connection, acme: Company) -> None:
    known = values(db, acme)
    mark = newest(db)
    db.execute(
        "update chatbots set name = 'Otro', response_delay_ms = 7, total_messages = 5,"
        " channel_configs = '{\"a\": 1}' where id = %(spare)s",
        known,
    )
    [line] = lines_since(db, mark)
    digest = db.execute(
        "select private.personal_digest(%(company)s, %(spare)s, 'Otro')", known
    ).fetchone()[0]
    assert len(line.details["before"].pop("name")) == len(digest)
    assert line.details == {
        "before": {"response_delay_ms": 1000},
        "after": {"name": digest, "response_delay_ms": 7},
        "hidden": ["channel_configs"],
        "by": "database",
    }


@pytest.mark.parametrize(
    "statement",
    [
        "update companies set monthly_message_count = monthly_message_count + 1, current_user_count = 9 where id = %(company)s",
        "update companies set name = name, email = email where id = %(company)s",
        "update users set last_seen_at = now(), last_login_at = now() where id = %(owner)s",
        "update chatbots set total_messages = 7, channels = '[]' where id = %(bot)s",
        "update hitl_sessions set first_response_at = now() where id = %(session)s",
    ],
)
def test_counters_and_changes_that_change_nothing_are_no_change(
    db: psycopg.Connection, acme: Company, statement: str
) -> None:
    known = values(db, acme)
    mark = newest(db)
    assert db.execute(statement, known).rowcount == 1
    assert lines_since(db, mark) == []


def test_a_takeover_that_ended_comes_and_goes_without_a_line(
    db: psycopg.Connection, acme: Company
) -> None:
    """It is the archive that moves it, and the archive keeps the manifest."""
    known = values(db, acme)
    db.execute(
        "update hitl_sessions set status = 'abandoned', ended_at = now() where id = %(session)s",
        known,
    )
    assert lines_since(db, UUID(int=0), acme.id)[-1].action == "resolve_hitl"
    mark = newest(db)
    db.execute("delete from hitl_sessions where id = %(session)s", known)
    db.execute(
        "insert into hitl_sessions (company_id, id, conversation_id, chatbot_id, reason, status, ended_at)"
        " values (%(company)s, %(session)s, %(other_conversation)s, %(bot)s, 'manual', 'abandoned', now())",
        known,
    )
    assert lines_since(db, mark) == []


def test_what_is_rolled_back_was_never_done(urls: Urls, acme: Company) -> None:
    with psycopg.connect(urls.admin) as db:
        mark = newest(db)
        db.execute("update companies set name = 'Nunca' where id = %s", (acme.id,))
        assert len(lines_since(db, mark)) == 1
        db.rollback()
        assert lines_since(db, mark) == []


def test_messages_pass_without_audit(urls: Urls, acme: Company) -> None:
    with psycopg.connect(urls.admin) as db:
        mark = newest(db)
        known = conversation(db, acme)
        db.execute(
            "insert into messages (company_id, conversation_id, chatbot_id, channel_account_id, sender_type, content)"
            " select company_id, id, chatbot_id, channel_account_id, 'bot', 'Hola' from conversations where id = %s",
            (known,),
        )
        assert lines_since(db, mark) == []


# Who ------------------------------------------------------------------------------------------------


def test_a_member_of_the_staff_is_named_with_the_role(
    urls: Urls, db: psycopg.Connection, acme: Company
) -> None:
    for role in ("owner", "administrador"):
        mark = newest(db)
        with acting(urls.app, "authenticated", claims_of(acme, role)) as staff:
            staff.execute("update companies set phone = %s", (uuid4().hex,))
        db.rollback()
        [line] = lines_since(db, mark, acme.id)
        assert (line.user_id, line.user_role) == (acme.people[role].id, role)
        assert line.details["by"] == "staff"
        digest = "select private.personal_digest(%s, %s, %s)"
        expected = db.execute(
            digest, (acme.id, acme.people[role].id, acme.people[role].email)
        ).fetchone()
        assert (line.user_email,) == expected


def test_who_shuts_himself_out_is_still_named(urls: Urls, db: psycopg.Connection) -> None:
    company = make_company(urls.admin, "acme")
    owner = company.people["owner"]
    mark = newest(db)
    with psycopg.connect(urls.admin) as acting_db:
        # As a definer would: the claims of the owner, the rights of another.
        acting_db.execute(
            "select set_config('request.jwt.claims', %s, true)", (claims_of(company, "owner"),)
        )
        acting_db.execute("grant update on public.companies to authenticated")
        acting_db.execute("select set_config('role', 'authenticated', true)")
        acting_db.execute("update companies set subscription_status = 'cancelled'")
        acting_db.execute("reset role")
        [line] = lines_since(acting_db, mark, company.id)
        acting_db.rollback()
    assert line.user_id == owner.id
    assert {"subscription_status", "subscription_ends_at"} <= set(line.details["after"])


def test_a_program_is_named_by_its_key_and_its_maker(
    urls: Urls, db: psycopg.Connection, acme: Company, rival: Company
) -> None:
    key = db.execute(
        "insert into api_keys (company_id, name, prefix, key_digest, role, created_by, scopes)"
        " values (%s, 'k', 'na_1', %s, 'administrador', %s, '{company.edit}') returning id",
        (acme.id, secrets.token_bytes(32), acme.people["owner"].id),
    ).fetchone()[0]
    db.commit()
    mark = newest(db)
    claims = json.dumps({"key_id": str(key), "company_id": str(acme.id)})
    with acting(urls.app, "authenticated", claims) as program:
        program.execute("update companies set phone = %s", (uuid4().hex,))
    [line] = lines_since(db, mark, acme.id)
    assert (line.user_id, line.user_role) == (acme.people["owner"].id, "administrador")
    assert (line.details["by"], line.details["key_id"]) == ("api_key", str(key))
    assert lines_since(db, mark, rival.id) == []


def test_the_system_and_a_person_at_the_database_are_distinguished(
    urls: Urls, db: psycopg.Connection, acme: Company
) -> None:
    known = values(db, acme)
    db.commit()
    mark = newest(db)
    claims = json.dumps({"company_id": str(acme.id)})
    for url, role, by in (
        (urls.jobs, "neurant_worker", "worker"),
        (urls.jobs, "none", "system"),
        (urls.app, "none", "web"),
        (urls.admin, "none", "database"),
    ):
        # A definer of the router's, called by each; the real ones are many and come and go.
        with psycopg.connect(urls.admin) as maker:
            maker.execute(
                "create or replace function private.touch_for_test(p_id uuid) returns void language sql"
                " security definer as 'update public.hitl_sessions set reason_detail = gen_random_uuid()::text where id = p_id'"
            )
            maker.execute("alter function private.touch_for_test(uuid) owner to neurant_router")
            maker.execute("grant execute on function private.touch_for_test(uuid) to public")
        try:
            with acting(url, role, claims) as caller:
                caller.execute("select private.touch_for_test(%s)", (known["session"],))
        finally:
            with psycopg.connect(urls.admin) as maker:
                maker.execute("drop function private.touch_for_test(uuid)")
        line = lines_since(db, mark, acme.id)[-1]
        db.rollback()
        assert (line.user_id, line.details["by"]) == (None, by)


def test_claims_of_another_company_name_nobody(
    urls: Urls, db: psycopg.Connection, acme: Company, rival: Company
) -> None:
    """A definer that acts for all companies must not put one company's person into another's log."""
    mark = newest(db)
    db.execute("select set_config('request.jwt.claims', %s, true)", (claims_of(rival, "owner"),))
    db.execute("grant update on public.companies to authenticated")
    db.execute("create policy for_test on public.companies to authenticated using (true)")
    db.execute("select set_config('role', 'authenticated', true)")
    db.execute("update public.companies set phone = 'x' where id = %s", (acme.id,))
    db.execute("reset role")
    [line] = lines_since(db, mark, acme.id)
    assert line.user_id is None
    db.rollback()
