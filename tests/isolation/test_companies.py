"""Two companies in one database: whoever asks, and however, sees nothing of the other one.

The tables come from the catalog, so a new one cannot escape. Both companies hold the same kinds of
rows, written by the product's own functions; every "cannot" stands beside its "can".
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql

from neurant.installation.embedded import Urls
from tests.companies import ROLES, Company, make_company, open_visitor

# What a principal may not even ask for is a stronger "nothing" than zero rows.
NOTHING = 0


@dataclass(frozen=True)
class Lived:
    """A company in which every step of the main job has happened, and one of its visitors."""

    company: Company
    visitor: bytes
    conversation: UUID
    message: UUID


@pytest.fixture(scope="module")
def companies(urls: Urls) -> tuple[Lived, Lived]:
    return live(urls, make_company(urls.admin, "acme")), live(
        urls, make_company(urls.admin, "rival")
    )


def live(urls: Urls, company: Company) -> Lived:
    """Documents, a Telegram and a web conversation, a takeover, an event set aside, a login."""
    _, visitor = open_visitor(urls.admin, company)
    secret = sha256(company.telegram_secret.encode()).digest()
    with psycopg.connect(urls.app) as db:
        stored = db.execute(
            "select conversation_id, message_id from private.ingest(%s::text[], %s::text[], %s::bytea[],"
            " %s::text[], '{null,null}', %s::text[], '{text,text}', %s::text[], '{null,null}')",
            (
                [company.web, company.telegram],
                ["web", "telegram"],
                [visitor, secret],
                ["", "7"],
                [str(uuid4()), str(uuid4())],
                [f"secreto de {company.name}"] * 2,
            ),
        ).fetchall()
        db.execute(
            "select private.set_aside_event(%s, %s, 'u:1', 'x', 'unsupported')",
            (company.telegram, secret),
        )
        db.execute(
            "select private.open_login_session(%s, %s, null, null, '1 hour')",
            (company.people["owner"].auth_user_id, secrets.token_bytes(32)),
        )
    conversation, message = stored[0]
    with psycopg.connect(urls.admin) as db:
        document = db.execute(
            "insert into documents (company_id, chatbot_id, filename, original_filename, file_type,"
            " file_size_bytes, file_url, content_digest, uploaded_by, processing_status) values"
            " (%s, %s, 'a.txt', 'a.txt', 'txt', 1, 'x', %s, %s, 'completed') returning id",
            (company.id, company.bot_id, secrets.token_bytes(32), company.people["owner"].id),
        ).fetchone()[0]
        db.execute(
            "insert into document_chunks (company_id, document_id, content, chunk_index,"
            " character_count, embedding, embedding_model) values (%s, %s, %s, 0, length(%s),"
            " array_fill(0.1, array[384])::real[]::extensions.vector, 'multilingual-e5-small')",
            (company.id, document, f"precio de {company.name}", f"precio de {company.name}"),
        )
        db.execute(
            "insert into knowledge_queries (company_id, conversation_id, query_text) values (%s, %s, 'x')",
            (company.id, conversation),
        )
        db.execute(
            "insert into company_keys (company_id, wrapped_key) values (%s, 'k')", (company.id,)
        )
    with psycopg.connect(urls.app) as db:
        become(db, staff_claims(company, "operador"))
        for one in stored:
            db.execute(
                "insert into messages (company_id, conversation_id, content) values (%s, %s, 'Hola')",
                (company.id, one[0]),
            )
    return Lived(company, visitor, conversation, message)


@dataclass(frozen=True)
class Claims:
    """A caller as the process would announce it: the login's URL, the role, the claims."""

    name: str
    role: str
    claims: str
    login: str = "app"


def staff_claims(company: Company, role: str) -> Claims:
    person = company.people[role]
    claims = {"sub": str(person.auth_user_id), "company_id": str(company.id)}
    return Claims(role, "authenticated", json.dumps(claims))


def become(db: psycopg.Connection, who: Claims) -> None:
    db.execute("select set_config('role', %s, true)", (who.role,))
    db.execute("select set_config('request.jwt.claims', %s, true)", (who.claims,))


def principals(lived: Lived) -> list[Claims]:
    found = [staff_claims(lived.company, role) for role in ROLES]
    found.append(Claims("visitor", "visitor", json.dumps({"visitor": lived.visitor.hex()})))
    worker = json.dumps({"company_id": str(lived.company.id)})
    found.append(Claims("worker", "neurant_worker", worker, login="jobs"))
    return found


def tenant_tables(admin_url: str) -> list[tuple[str, str]]:
    """Every table that belongs to companies, with the column that says to which."""
    with psycopg.connect(admin_url) as db:
        return db.execute(
            "select c.relname, case c.relname when 'companies' then 'id' else 'company_id' end"
            " from pg_class c join pg_namespace n on n.oid = c.relnamespace"
            " where n.nspname = 'public' and c.relkind in ('r', 'p') and (c.relname = 'companies' or exists ("
            "  select from pg_attribute a where a.attrelid = c.oid and a.attname = 'company_id'))"
            " order by 1"
        ).fetchall()


def rows_seen(urls: Urls, who: Claims, *tables: tuple[str, str]) -> Iterator[list[UUID]]:
    """Of each table (with its key), the companies of all rows that the caller sees.

    The list is empty where the caller may not ask at all. Each table is read in a transaction of
    its own.
    """
    with psycopg.connect(getattr(urls, who.login)) as db:
        for table, key in tables:
            query = sql.SQL("select {} from {}").format(sql.Identifier(key), sql.Identifier(table))
            with db.transaction(force_rollback=True):
                become(db, who)
                try:
                    with db.transaction():
                        found = db.execute(query).fetchall()
                except psycopg.errors.InsufficientPrivilege:
                    found = []
            yield [row[0] for row in found]


def test_nobody_sees_a_row_of_the_other_company(urls: Urls, companies: tuple[Lived, Lived]) -> None:
    for lived in companies:
        tables = tenant_tables(urls.admin)
        for who in principals(lived):
            for (table, _), seen in zip(tables, rows_seen(urls, who, *tables), strict=True):
                assert set(seen) <= {lived.company.id}, (
                    f"{who.name} sees {table} of another company"
                )


def test_each_sees_what_is_its_own(urls: Urls, companies: tuple[Lived, Lived]) -> None:
    """The pair of the test above: it would also pass if nobody saw anything."""
    acme, tables = companies[0], tenant_tables(urls.admin)
    shown = {
        who.name: {
            table
            for (table, _), seen in zip(tables, rows_seen(urls, who, *tables), strict=True)
            if seen
        }
        for who in principals(acme)
    }
    everyday = {
        "companies", "users", "chatbots", "chatbot_operators", "conversations", "messages",
        "hitl_sessions", "outbox", "reply_requests", "documents", "document_chunks",
        "channel_accounts", "knowledge_queries", "contacts",
    }  # fmt: skip
    assert (
        shown["owner"]
        == shown["administrador"]
        == everyday
        | {
            "inbound_events",
            "company_keys",
            "audit_logs",
        }
    )
    assert shown["supervisor"] == shown["operador"] == everyday
    assert shown["visitor"] == {"conversations", "messages", "reply_requests"}
    assert shown["worker"] == everyday - {
        "hitl_sessions",
        "chatbot_operators",
        "knowledge_queries",
        "contacts",
    } | {"company_keys"}


def strangers(lived: Lived) -> Iterator[Claims]:
    company = lived.company
    yield Claims("no claims", "authenticated", "")
    yield Claims("empty claims", "authenticated", "{}")
    yield Claims("a visitor without token", "visitor", "{}")
    yield Claims("a worker without company", "neurant_worker", "{}", login="jobs")
    known = company.people["owner"].auth_user_id
    for name, sub, company_id in (
        ("an unknown company", known, uuid4()),
        ("an unknown person", uuid4(), company.id),
    ):
        claims = json.dumps({"sub": str(sub), "company_id": str(company_id)})
        yield Claims(name, "authenticated", claims)
    yield Claims(
        "an unknown worker company",
        "neurant_worker",
        json.dumps({"company_id": str(uuid4())}),
        "jobs",
    )
    yield Claims("an unknown visitor", "visitor", json.dumps({"visitor": "00" * 32}))


def test_a_stranger_sees_no_row_of_any_company(urls: Urls, companies: tuple[Lived, Lived]) -> None:
    tables = tenant_tables(urls.admin)
    for who in strangers(companies[0]):
        for (table, _), seen in zip(tables, rows_seen(urls, who, *tables), strict=True):
            assert len(seen) == NOTHING, f"{who.name} sees {table}"


def test_an_owner_with_another_companys_id_is_a_stranger(
    urls: Urls, companies: tuple[Lived, Lived]
) -> None:
    acme, rival = companies
    crossed = json.dumps(
        {
            "sub": str(acme.company.people["owner"].auth_user_id),
            "company_id": str(rival.company.id),
        }
    )
    who = Claims("crossed", "authenticated", crossed)
    assert all(seen == [] for seen in rows_seen(urls, who, *tenant_tables(urls.admin)))


def test_a_deactivated_person_is_out_at_the_next_statement(urls: Urls) -> None:
    company = live(urls, make_company(urls.admin, "acme")).company
    who = staff_claims(company, "administrador")
    assert all(rows_seen(urls, who, ("messages", "company_id")))
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "update users set is_active = false where id = %s",
            (company.people["administrador"].id,),
        )
    assert all(seen == [] for seen in rows_seen(urls, who, *tenant_tables(urls.admin)))


def test_a_cancelled_company_is_read_by_its_staff_and_closed_to_everybody_else(urls: Urls) -> None:
    lived = live(urls, make_company(urls.admin, "acme"))
    tables = tenant_tables(urls.admin)
    before = {who.name: [*rows_seen(urls, who, *tables)] for who in principals(lived)}
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "update companies set subscription_status = 'cancelled' where id = %s",
            (lived.company.id,),
        )
    for who in principals(lived):
        closed = who.name in ("visitor", "worker")
        now = zip(tables, before[who.name], rows_seen(urls, who, *tables), strict=True)
        for (table, _), then, seen in now:
            expected = [] if closed else then
            assert len(seen) >= len(expected), f"{who.name}: {table}"
            assert set(seen) == set(expected), f"{who.name}: {table}"


def test_the_web_login_cannot_become_the_worker_nor_the_router(urls: Urls) -> None:
    for role in ("neurant_worker", "neurant_router", "neurant_owner", "postgres"):
        with (
            psycopg.connect(urls.app) as db,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            db.execute("select set_config('role', %s, true)", (role,))


def test_the_logins_see_nothing_before_they_become_somebody(urls: Urls) -> None:
    tables = tenant_tables(urls.admin)
    for url in (urls.app, urls.jobs):
        with psycopg.connect(url, autocommit=True) as db:
            for table, key in tables:
                query = sql.SQL("select {} from {}").format(
                    sql.Identifier(key), sql.Identifier(table)
                )
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    db.execute(query)


WRITES = (
    "insert into messages (company_id, conversation_id, content) values (%(company)s, %(conversation)s, 'x')",
    "insert into documents (company_id, filename, original_filename, file_type, file_size_bytes, file_url,"
    " content_digest, uploaded_by) values (%(company)s, 'a', 'a', 'txt', 1, 'x', sha256('x'), %(user)s)",
    "insert into channel_accounts (company_id, chatbot_id, channel, routing_id, display_name)"
    " values (%(company)s, %(bot)s, 'web', %(mark)s, 'x')",
)


@pytest.mark.parametrize("statement", WRITES)
def test_nobody_writes_into_the_other_company(
    urls: Urls, companies: tuple[Lived, Lived], statement: str
) -> None:
    acme, rival = companies
    for target, allowed in ((acme, True), (rival, False)):
        company = target.company
        values = {
            "company": company.id, "conversation": target.conversation, "bot": company.bot_id,
            "user": acme.company.people["owner"].id, "mark": secrets.token_hex(8),
        }  # fmt: skip
        with psycopg.connect(urls.app) as db:
            become(db, staff_claims(acme.company, "owner"))
            if allowed and "messages" not in statement:
                assert db.execute(statement, values).rowcount == 1
            elif not allowed:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    db.execute(statement, values)
            db.rollback()


def test_a_foreign_conversation_answers_like_an_unknown_one(
    urls: Urls, companies: tuple[Lived, Lived]
) -> None:
    acme, rival = companies
    calls = (
        "select private.take_conversation(%s)",
        "select private.resolve_conversation(%s)",
        "select private.resend_message(%s)",
    )
    for role in ROLES:
        for call in calls:
            foreign = rival.message if "resend" in call else rival.conversation
            with psycopg.connect(urls.app) as db:
                become(db, staff_claims(acme.company, role))
                answers = [db.execute(call, (id_,)).fetchone() for id_ in (foreign, uuid4())]
            assert answers == [("not_found",), ("not_found",)]


def test_search_finds_only_the_callers_documents(
    urls: Urls, companies: tuple[Lived, Lived]
) -> None:
    vector = "[" + ",".join(["0.1"] * 384) + "]"
    for mine, other in (companies, companies[::-1]):
        for bot in (mine.company.bot_id, other.company.bot_id):
            with psycopg.connect(urls.app) as db:
                become(db, staff_claims(mine.company, "operador"))
                found = db.execute(
                    "select c.content, c.company_id from private.search_chunks(%s, 'precio', %s::extensions.vector,"
                    " 'multilingual-e5-small', 10) s join document_chunks c on c.id = s.chunk_id",
                    (bot, vector),
                ).fetchall()
            expected = [(f"precio de {mine.company.name}", mine.company.id)]
            assert found == (expected if bot == mine.company.bot_id else [])


def test_a_visitor_sees_one_conversation_and_not_another_visitors(
    urls: Urls, companies: tuple[Lived, Lived]
) -> None:
    acme = companies[0]
    _, other = open_visitor(urls.admin, acme.company)
    for who, expected in ((acme, {acme.conversation}), (replace(acme, visitor=other), set())):
        with psycopg.connect(urls.app) as db:
            become(db, Claims("v", "visitor", json.dumps({"visitor": who.visitor.hex()})))
            rows = db.execute("select conversation_id from messages").fetchall()
        assert {row[0] for row in rows} == expected


def test_an_operador_sees_only_the_bots_that_are_assigned(urls: Urls) -> None:
    company = live(urls, make_company(urls.admin, "acme")).company
    who = staff_claims(company, "operador")
    scoped = [
        (table, "company_id")
        for table in ("chatbots", "conversations", "messages", "hitl_sessions", "channel_accounts")
    ]
    assert all(rows_seen(urls, who, *scoped))
    with psycopg.connect(urls.admin) as db:
        db.execute(
            "update chatbot_operators set is_active = false where company_id = %s", (company.id,)
        )
        db.execute(
            "update hitl_sessions set status = 'resolved', ended_at = now() where company_id = %s",
            (company.id,),
        )
    assert all(seen == [] for seen in rows_seen(urls, who, *scoped))
