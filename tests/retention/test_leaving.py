"""Somebody of the staff leaves, and a company leaves: nothing personal stays, nothing of others goes."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from neurant.cli.retention import erase_company
from neurant.core.errors import SetupError
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from tests.companies import Company, make_company
from tests.retention.old_conversations import (
    ConversationShape,
    archive_all,
    become,
    make_conversation,
    stored_rows,
)


@pytest.fixture
def two(urls: Urls) -> tuple[Company, Company]:
    return make_company(urls.admin, "acme"), make_company(urls.admin, "rival")


@pytest.fixture
def db(urls: Urls) -> Iterator[psycopg.Connection]:
    with psycopg.connect(urls.admin, autocommit=True) as connection:
        yield connection


def erase_user(urls: Urls, company: Company, role: str, user: UUID) -> str:
    with psycopg.connect(urls.app) as who:
        become(who, company, role)
        return who.execute("select private.erase_user(%s)", (user,)).fetchone()[0]


def furnish(db: psycopg.Connection, company: Company) -> list[UUID]:
    """Rows in as many tables as people and the product fill."""
    owner, operador = company.people["owner"].id, company.people["operador"].id
    talks = [
        make_conversation(db, company, ConversationShape()),
        make_conversation(db, company, ConversationShape(days_ago=1)),
    ]
    talks.append(make_conversation(db, company, ConversationShape(days_ago=0, status="active")))
    for statement in (
        "insert into login_sessions (company_id, user_id, token_digest, expires_at) values (%(c)s, %(o)s, %(d)s, now())",
        "insert into notifications (company_id, user_id, kind) values (%(c)s, %(o)s, 'transfer_requested')",
        "insert into canned_responses (company_id, owner_id, shortcut, content) values (%(c)s, %(o)s, 'hola', 'Hola')",
        "insert into api_keys (company_id, name, prefix, key_digest, role, created_by) values (%(c)s, 'k', 'p', %(d)s, 'supervisor', %(w)s)",
        "insert into system_metrics (metric_type, value, company_id, chatbot_id) values ('x', 1, %(c)s, %(b)s)",
        "insert into company_keys (company_id, wrapped_key) values (%(c)s, 'k')",
        "insert into documents (company_id, chatbot_id, filename, original_filename, file_type, file_size_bytes, file_url, content_digest, uploaded_by) values (%(c)s, %(b)s, 'a', 'a', 'txt', 1, 'x', %(d)s, %(w)s)",
        "insert into user_invitations (company_id, email, first_name, invited_by, token_digest, status, accepted_at, accepted_by_user_id) values (%(c)s, %(e)s, 'Operador', %(w)s, %(d)s, 'accepted', now(), %(o)s)",
        "update users set phone = '300', avatar_url = 'x', created_by = %(w)s, invited_by = %(w)s where id = %(o)s",
        "update companies set created_by = (select auth_user_id from users where id = %(w)s) where id = %(c)s",
    ):
        db.execute(
            statement,
            {"c": company.id, "b": company.bot_id, "o": operador, "w": owner,
             "d": secrets.token_bytes(32), "e": company.people["operador"].email},
        )  # fmt: skip
    return talks


def rows_of(db: psycopg.Connection, company: UUID) -> dict[str, int]:
    """How many rows of the company each table holds; only tables that hold some."""
    found = {}
    for table, key in db.execute("select tenant_table::text, key from private.erasure_order()"):
        query = sql.SQL("select count(*) from {} where {} = %s").format(
            sql.Identifier(table), sql.Identifier(key)
        )
        if count := db.execute(query, (company,)).fetchone()[0]:
            found[table] = count
    return found


# A member of the staff ---------------------------------------------------------------------------
def test_d37_a_person_who_leaves_takes_the_login_and_the_name_along(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    acme, rival = two
    talks, _ = furnish(db, acme), furnish(db, rival)
    person, email = acme.people["operador"].id, acme.people["operador"].email
    waiting = make_conversation(
        db, acme, ConversationShape(days_ago=0, status="active", takeover=False)
    )
    db.execute(
        "insert into hitl_sessions (company_id, conversation_id, chatbot_id, status, reason, operator_id)"
        " values (%s, %s, %s, 'active', 'manual', %s)",
        (acme.id, waiting, acme.bot_id, person),
    )
    said = stored_rows(db, talks)["messages"]
    assert erase_user(urls, rival, "owner", person) == "not_found"
    assert erase_user(urls, acme, "owner", person) == "erased"
    audited = "select count(*) from audit_logs where company_id = %s and action = 'erase'"
    assert db.execute(audited, (acme.id,)).fetchone() == (1,)
    assert db.execute(audited, (rival.id,)).fetchone() == (0,)
    row = db.execute(
        "select to_jsonb(u)::text, is_active, auth_user_id from users u where id = %s", (person,)
    ).fetchone()
    assert "Operador" not in row[0]
    assert email not in row[0]
    assert "300" not in row[0].split("erased")[0]
    assert row[1:] == (False, None)
    assert not db.execute("select from auth.users where email = %s", (email,)).fetchall()
    for table in ("login_sessions", "notifications", "canned_responses"):
        key = "owner_id" if table == "canned_responses" else "user_id"
        assert not db.execute(f"select from {table} where {key} = %s", (person,)).fetchall()
    assert not db.execute("select from user_invitations where email = %s", (email,)).fetchall()
    assert stored_rows(db, talks)["messages"] == said
    session = "select status, operator_id from hitl_sessions where conversation_id = %s"
    assert db.execute(session, (waiting,)).fetchone() == ("pending", None)
    assert db.execute(
        "select count(*) from login_sessions where company_id = %s", (rival.id,)
    ).fetchone() == (1,)
    # The address is free for somebody else.
    db.execute(
        "insert into users (company_id, email, first_name, last_name) values (%s, %s, 'Otra', 'Persona')",
        (acme.id, email),
    )


def test_a_login_stays_while_another_company_knows_it(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    acme, rival = two
    person = acme.people["supervisor"]
    db.execute(
        "insert into users (company_id, auth_user_id, email, first_name, last_name, role)"
        " values (%s, %s, %s, 'Ana', 'Doble', 'supervisor')",
        (rival.id, person.auth_user_id, person.email),
    )
    assert erase_user(urls, acme, "owner", person.id) == "erased"
    assert db.execute("select from auth.users where id = %s", (person.auth_user_id,)).fetchall()
    assert db.execute(
        "select first_name from users where company_id = %s and auth_user_id = %s",
        (rival.id, person.auth_user_id),
    ).fetchone() == ("Ana",)


def test_d37_a_login_can_be_deleted_from_outside_too(
    db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    acme = two[0]
    furnish(db, acme)
    for role in ("owner", "operador"):
        db.execute("delete from auth.users where id = %s", (acme.people[role].auth_user_id,))
    assert db.execute(
        "select count(*) from users where company_id = %s and auth_user_id is null", (acme.id,)
    ).fetchone() == (2,)
    created = db.execute("select created_by from companies where id = %s", (acme.id,)).fetchone()
    assert created == (None,)


@pytest.mark.parametrize(
    ("caller", "target", "outcome"),
    [
        ("owner", "administrador", "erased"), ("owner", "owner", "forbidden"),
        ("administrador", "owner", "forbidden"), ("administrador", "administrador", "forbidden"),
        ("administrador", "supervisor", "erased"), ("supervisor", "operador", "not_found"),
        ("operador", "operador", "not_found"),
    ],
)  # fmt: skip
def test_only_people_below_are_erased(
    urls: Urls, two: tuple[Company, Company], caller: str, target: str, outcome: str
) -> None:
    acme, rival = two
    assert erase_user(urls, acme, caller, rival.people[target].id) == "not_found"
    assert erase_user(urls, acme, caller, uuid4()) == "not_found"
    assert erase_user(urls, acme, caller, acme.people[target].id) == outcome


def test_d36_no_one_deletes_a_bot_with_its_history(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    acme = two[0]
    talks = furnish(db, acme)
    before = stored_rows(db, talks)
    for role in ("owner", "administrador", "supervisor"):
        with psycopg.connect(urls.app) as who:
            become(who, acme, role)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                who.execute("delete from chatbots where id = %s", (acme.bot_id,))
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        db.execute("delete from chatbots where id = %s", (acme.bot_id,))
    assert stored_rows(db, talks) == before


# A company ---------------------------------------------------------------------------------------
def close_company(db: psycopg.Connection, company: Company, days: int) -> None:
    db.execute(
        "update companies set subscription_status = 'cancelled',"
        " subscription_ends_at = now() - make_interval(days => %s) where id = %s",
        (days, company.id),
    )


def settings_of(urls: Urls, folder: Path) -> Settings:
    return Settings(
        data_dir=folder, admin_database_url=urls.admin, app_database_url=urls.app,
        jobs_database_url=urls.jobs,
    )  # fmt: skip


def test_d37_a_closed_company_is_erased_whole_with_its_files_and_nobody_elses(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company], folder: Path
) -> None:
    acme, rival = two
    furnish(db, acme)
    furnish(db, rival)
    archive_all(urls.jobs)
    for company in two:
        path = folder / "files" / str(company.id)
        path.mkdir(parents=True)
        (path / "document").write_text("x")
    both = acme.people["operador"].auth_user_id
    db.execute(
        "insert into users (company_id, auth_user_id, email, first_name, last_name)"
        " values (%s, %s, 'ana@doble.example', 'Ana', 'Doble')",
        (rival.id, both),
    )
    close_company(db, acme, days=31)
    before = rows_of(db, rival.id)
    jobs: list[Any] = []
    assert len(rows_of(db, acme.id)) > 25
    asyncio.run(
        erase_company(settings_of(urls, folder), acme.slug, force=False, on_progress=jobs.append)
    )
    assert jobs
    assert rows_of(db, acme.id) == {}
    assert rows_of(db, rival.id) == before
    assert not (folder / "files" / str(acme.id) / "document").exists()
    assert (folder / "files" / str(rival.id) / "document").exists()
    logins = {row[0] for row in db.execute("select id from auth.users")}
    assert both in logins
    assert acme.people["owner"].auth_user_id not in logins
    assert {person.auth_user_id for person in rival.people.values()} <= logins


@pytest.mark.parametrize("days", [None, 29])
def test_a_company_that_is_open_or_newly_closed_is_not_erased_unless_forced(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company], folder: Path, days: int | None
) -> None:
    acme = two[0]
    furnish(db, acme)
    if days is not None:
        close_company(db, acme, days)
    before = rows_of(db, acme.id)
    with pytest.raises(SetupError) as refused:
        asyncio.run(
            erase_company(settings_of(urls, folder), acme.slug, force=False, on_progress=print)
        )
    assert refused.value.code == "retention.company_not_closed"
    assert rows_of(db, acme.id) == before
    asyncio.run(
        erase_company(settings_of(urls, folder), acme.slug, force=True, on_progress=lambda _: None)
    )
    assert rows_of(db, acme.id) == {}


def test_a_closed_company_knows_since_when_however_it_was_closed(
    db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    acme, rival = two
    ends = (
        "select subscription_ends_at, subscription_ends_at > now() - interval '1 hour'"
        " from companies where id = %s"
    )
    close = "update companies set subscription_status = 'cancelled' where id = %s"
    # A trial that was over long ago does not count as the thirty days.
    db.execute(
        "update companies set subscription_status = 'trialing',"
        " subscription_ends_at = now() - interval '60 days' where id = %s",
        (acme.id,),
    )
    db.execute(close, (acme.id,))
    assert db.execute(ends, (acme.id,)).fetchone()[1] is True
    db.execute("update companies set subscription_ends_at = null where id = %s", (acme.id,))
    assert db.execute(ends, (acme.id,)).fetchone()[1] is True
    close_company(db, acme, days=31)
    db.execute(close, (acme.id,))
    assert db.execute(ends, (acme.id,)).fetchone()[1] is False
    assert db.execute(ends, (rival.id,)).fetchone()[0] is None
    made = db.execute(
        "insert into companies (name, slug, email, subscription_status)"
        " values ('Nueva', %s, 'n@n.example', 'cancelled') returning id",
        (f"n-{uuid4().hex}",),
    ).fetchone()[0]
    assert db.execute(ends, (made,)).fetchone()[1] is True


def test_a_company_of_which_nobody_knows_when_it_was_closed_is_not_erased(
    db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    acme = two[0]
    with db.transaction():
        db.execute("set local session_replication_role = replica")  # no trigger fills the moment
        db.execute(
            "update companies set subscription_status = 'cancelled', subscription_ends_at = null"
            " where id = %s",
            (acme.id,),
        )
    before = rows_of(db, acme.id)
    with pytest.raises(psycopg.Error) as refused:
        db.execute("select private.erase_company(%s)", (acme.id,))
    assert refused.value.sqlstate == "NA004"
    assert rows_of(db, acme.id) == before


def test_an_erasure_that_was_cut_off_goes_on_where_it_was(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    acme, rival = two
    furnish(db, acme)
    furnish(db, rival)
    close_company(db, acme, days=40)
    before = rows_of(db, rival.id)
    batch = "select private.erase_company(%s, false, 3)"
    calls = 0
    while True:
        with psycopg.connect(urls.admin) as cut:  # as a crash leaves it: this batch never was
            whole = rows_of(db, acme.id)
            cut.execute(batch, (acme.id,))
            cut.rollback()
        assert rows_of(db, acme.id) == whole
        if not db.execute(batch, (acme.id,)).fetchone()[0]:
            break
        calls += 1
        assert calls < 500
    assert calls > 10
    assert rows_of(db, acme.id) == {}
    assert rows_of(db, rival.id) == before


def test_nobody_who_serves_traffic_erases_a_company(
    urls: Urls, db: psycopg.Connection, two: tuple[Company, Company]
) -> None:
    for url in (urls.app, urls.jobs):
        with psycopg.connect(url) as who, pytest.raises(psycopg.errors.InsufficientPrivilege):
            who.execute("select private.erase_company(%s, true)", (two[0].id,))
    with psycopg.connect(urls.app) as who:
        become(who, two[0], "owner")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            who.execute("select private.erase_company(%s, true)", (two[0].id,))
    for role in ("neurant_owner", "neurant_router"):
        with db.transaction(force_rollback=True):
            db.execute(f"set local role {role}")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                db.execute("select private.erase_company(%s, true)", (two[0].id,))


def test_every_table_of_tenants_is_erased_after_whatever_refers_to_it(
    db: psycopg.Connection,
) -> None:
    order = [
        row[0]
        for row in db.execute(
            "select tenant_table::text from private.erasure_order() order by place"
        )
    ]
    tables = db.execute(
        "select c.relname from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'"
        " and c.relname not like 'audit\\_%' and (c.relname = 'companies' or exists (select from pg_attribute a"
        "  where a.attrelid = c.oid and a.attname = 'company_id'))"
    ).fetchall()
    assert set(order) == {row[0] for row in tables}
    assert order[-1] == "companies"
    for child, parent in db.execute(
        "select conrelid::regclass::text, confrelid::regclass::text from pg_constraint"
        " where contype = 'f' and conrelid <> confrelid"
    ):
        if child in order and parent in order:
            assert order.index(child) < order.index(parent), (child, parent)
