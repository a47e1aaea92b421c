"""Acting as somebody of a company, and counting again what the database counted."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from neurant.installation.embedded import Urls
from tests.companies import Company

FREE = {
    "monthly_message_limit": 500, "max_chatbots": 1, "max_users": 2, "max_integrations": 0,
    "max_document_characters": 0, "max_storage_mb": 0, "max_hitl_concurrent": 0,
}  # fmt: skip
COUNTERS = (
    "current_chatbot_count", "current_user_count", "current_integration_count",
    "current_document_characters", "current_storage_bytes", "current_hitl_count",
)  # fmt: skip
RECOUNT = """
select
  (select count(*) from chatbots where company_id = %(id)s and retired_at is null),
  (select count(*) from users where company_id = %(id)s and is_active)
    + (select count(*) from user_invitations where company_id = %(id)s and status = 'pending'),
  (select count(*) from integrations where company_id = %(id)s and is_active),
  (select coalesce(sum(character_count), 0)::bigint from documents
    where company_id = %(id)s and retired_at is null),
  (select coalesce(sum(file_size_bytes), 0)::bigint from documents
    where company_id = %(id)s and retired_at is null),
  (select count(*) from hitl_sessions where company_id = %(id)s and status = 'active')
"""


@contextmanager
def staff(urls: Urls, company: Company, role: str) -> Iterator[psycopg.Connection]:
    """A transaction of a member of the staff, committed at the end."""
    claims = {"sub": str(company.people[role].auth_user_id), "company_id": str(company.id)}
    with connect_as(urls.app, "authenticated", claims) as db:
        yield db


@contextmanager
def worker(urls: Urls, company: Company) -> Iterator[psycopg.Connection]:
    """A transaction of the worker for the company."""
    with connect_as(urls.jobs, "neurant_worker", {"company_id": str(company.id)}) as db:
        yield db


@contextmanager
def connect_as(url: str, role: str, claims: dict[str, str]) -> Iterator[psycopg.Connection]:
    with psycopg.connect(url) as db:
        db.execute(
            "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
            (role, json.dumps(claims)),
        )
        yield db


def call_as(urls: Urls, company: Company, role: str, query: str, *params: Any) -> Any:
    """The first value of a query of a member of the staff, committed."""
    with staff(urls, company, role) as db:
        return db.execute(query, params).fetchone()[0]


def query_as_admin(urls: Urls, query: str, *params: Any) -> list[tuple[Any, ...]]:
    """Behind the scenes, committed."""
    with psycopg.connect(urls.admin) as db:
        cursor = db.execute(query, params)
        return cursor.fetchall() if cursor.description else []


def limit(urls: Urls, company: Company, **limits: int) -> None:
    """The company's limits as somebody behind the scenes sets them."""
    for name, value in limits.items():
        statement = sql.SQL("update companies set {} = %s where id = %s")
        with psycopg.connect(urls.admin) as db:
            db.execute(statement.format(sql.Identifier(name)), (value, company.id))


def counters(urls: Urls, company: Company) -> tuple[int, ...]:
    [row] = query_as_admin(
        urls, f"select {', '.join(COUNTERS)} from companies where id = %s", company.id
    )
    return row


def recount(urls: Urls, company: Company) -> tuple[int, ...]:
    with psycopg.connect(urls.admin) as db:
        return db.execute(RECOUNT, {"id": company.id}).fetchone()


def used(urls: Urls, company: Company, name: str, role: str = "operador") -> tuple[int, int, Any]:
    """Use, limit and next plan, as a member of the staff reads them."""
    with staff(urls, company, role) as db:
        return db.execute(
            "select used, allowed, next_plan::text from private.usage() where limit_name = %s",
            (name,),
        ).fetchone()


def add_bot(db: psycopg.Connection, company: Company) -> UUID:
    return db.execute(
        "insert into chatbots (company_id, name, system_prompt, created_by)"
        " values (%s, %s, 'Responde.', %s) returning id",
        (company.id, f"Bot {uuid4()}", company.people["owner"].id),
    ).fetchone()[0]


def add_integration(db: psycopg.Connection, company: Company) -> UUID:
    return db.execute(
        "insert into integrations (company_id, name, integration_type, created_by)"
        " values (%s, %s, 'airtable', %s) returning id",
        (company.id, str(uuid4()), company.people["owner"].id),
    ).fetchone()[0]


def add_document(db: psycopg.Connection, company: Company, size: int = 1000) -> UUID:
    """As the owner: the uploader is who adds it."""
    return db.execute(
        "insert into documents (company_id, id, filename, original_filename, file_type,"
        " file_size_bytes, file_url, content_digest, uploaded_by)"
        " values (%s, uuidv7(), 'a.txt', 'a.txt', 'txt', %s, 'x', %s, %s) returning id",
        (company.id, size, secrets.token_bytes(32), company.people["owner"].id),
    ).fetchone()[0]


def invite(
    db: psycopg.Connection, email: str, role: str = "operador", token: bytes | None = None
) -> tuple[str, UUID | None]:
    return db.execute(
        "select outcome, invitation_id from private.invite_user(%s, %s, 'Ana', 'Ruiz', %s)",
        (email, role, token or secrets.token_bytes(32)),
    ).fetchone()


def add_conversation(urls: Urls, company: Company) -> UUID:
    return query_as_admin(
        urls,
        "insert into conversations (company_id, chatbot_id, channel_account_id, end_user_id, channel)"
        " select company_id, chatbot_id, id, %s, channel from channel_accounts where routing_id = %s"
        " returning id",
        str(uuid4()),
        company.web,
    )[0][0]


def add_login(urls: Urls, email: str) -> UUID:
    return query_as_admin(urls, "insert into auth.users (email) values (%s) returning id", email)[
        0
    ][0]
