"""The founding design as drafted and ours, side by side: the same people, bots and messages in both.

A scenario does the same in either ``FoundingFixture`` and tells what came of it; only the outcomes differ.
Nothing is committed: a fixture ends with its transaction.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

DRAFT = Path(__file__).resolve().parents[3] / "bench" / "founding_design.sql"
ROLES = ("owner", "administrador", "supervisor", "operador")
UNLIMITED = (
    "monthly_message_limit", "max_chatbots", "max_users", "max_integrations",
    "max_document_characters", "max_storage_mb", "max_hitl_concurrent",
)  # fmt: skip


@dataclass(frozen=True)
class Person:
    id: UUID
    login: UUID
    email: str


@dataclass(frozen=True)
class Company:
    """Four people, a bot that the operador works for, a conversation of three messages, a document."""

    id: UUID
    name: str
    people: dict[str, Person]
    bot: UUID
    account: UUID | None
    conversation: UUID
    message: UUID
    document: UUID
    chunk: UUID


@dataclass
class FoundingFixture:
    """One of the two databases, in a transaction. ``acme`` acts; ``rival`` must not be touched."""

    db: psycopg.Connection
    is_ours: bool
    columns: dict[str, set[str]]
    acme: Company
    rival: Company

    def become(self, role: str, company: Company | None = None) -> None:
        """A member of the staff, of acme unless told."""
        where = company or self.acme
        claims = {"sub": str(where.people[role].login), "company_id": str(where.id)}
        self.announce("authenticated", claims)

    def announce(self, role: str, claims: dict[str, str]) -> None:
        self.db.execute(
            "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
            (role, json.dumps(claims)),
        )

    def as_worker(self) -> None:
        """Ours only: the system acting for acme, from the worker's login."""
        self.db.execute("set local session authorization neurant_jobs")
        self.announce("neurant_worker", {"company_id": str(self.acme.id)})

    def as_admin(self) -> None:
        """The superuser again, whom no policy holds."""
        self.db.execute("reset session authorization")
        self.announce("none", {})

    def attempt(self, query: str, *params: Any) -> int | str:
        """How many rows a statement touches or returns, or the name of the error that it ends in."""
        return self._safely(lambda: self.db.execute(query, params or None).rowcount)

    def value(self, query: str, *params: Any) -> Any:
        """The first value of the first row (None without one), or the error's name."""

        def first() -> Any:
            row = self.db.execute(query, params or None).fetchone()
            return row[0] if row else None

        return self._safely(first)

    def values(self, query: str, *params: Any) -> list[Any]:
        return [row[0] for row in self.db.execute(query, params or None).fetchall()]

    def put(self, table: str, **values: Any) -> int | str:
        """Inserts a row, as whoever acts now. Columns that only the other design has are left out."""
        return self.attempt(*self._insert(table, values, ""))

    def add(self, table: str, **values: Any) -> Any:
        """The new row's id; an error is an error. The company is acme unless told."""
        if "company_id" not in values:
            values["company_id"] = self.acme.id
        query, *params = self._insert(table, values, " returning id")
        return self.db.execute(query, params).fetchone()[0]

    @contextmanager
    def without_triggers(self) -> Iterator[None]:
        """Rows as they would be, whoever wrote them."""
        self.db.execute("set local session_replication_role = replica")
        yield
        self.db.execute("set local session_replication_role = origin")

    def _safely(self, action: Callable[[], Any]) -> Any:
        try:
            with self.db.transaction():
                return action()
        except psycopg.Error as error:
            state = error.sqlstate or ""
            return state if state.startswith("NA") else type(error).__name__

    def _insert(self, table: str, values: dict[str, Any], ending: str) -> list[Any]:
        known = {
            name: Jsonb(value) if isinstance(value, dict | list) else value
            for name, value in values.items()
            if name in self.columns[table]
        }
        names = ", ".join(known)
        marks = ", ".join(["%s"] * len(known))
        return [f"insert into {table} ({names}) values ({marks}){ending}", *known.values()]


def load_draft(admin_url: str) -> None:
    """The founding design into an empty database."""
    with psycopg.connect(admin_url) as db:
        db.execute(DRAFT.read_bytes())


@contextmanager
def fixture(url: str, *, is_ours: bool) -> Iterator[FoundingFixture]:
    """A database with both companies in it, until the block ends. ``url``: a superuser's."""
    with psycopg.connect(url) as db:
        try:
            columns: dict[str, set[str]] = {}
            for table, column in db.execute(
                "select c.relname, a.attname from pg_class c join pg_attribute a on a.attrelid = c.oid"
                " where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')"
                " and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''"
            ).fetchall():
                columns.setdefault(table, set()).add(column)
            made = FoundingFixture(db, is_ours, columns, None, None)
            made.acme = _company(made, "acme")
            made.rival = _company(made, "rival")
            yield made
        finally:
            db.rollback()


def _company(fixture: FoundingFixture, name: str) -> Company:
    mark = secrets.token_hex(4)
    domain = f"{name}-{mark}.example"
    company = fixture.add(
        "companies",
        company_id=None,
        name=name.title(),
        slug=f"{name}-{mark}",
        email=f"hola@{domain}",
        subscription_plan="enterprise",
        **dict.fromkeys(UNLIMITED, -1),
    )
    people: dict[str, Person] = {}
    for role in ROLES:
        email = f"{role}@{domain}"
        login = _login(fixture, email)
        person = fixture.add(
            "users",
            company_id=company,
            auth_user_id=login,
            email=email,
            first_name=role,
            last_name=name,
            role=role,
            is_owner=role == "owner",
        )
        people[role] = Person(person, login, email)
    owner = people["owner"].id
    bot = fixture.add(
        "chatbots", company_id=company, name=f"Bot {name}", system_prompt="x", created_by=owner
    )
    fixture.add(
        "chatbot_operators",
        company_id=company,
        chatbot_id=bot,
        operator_id=people["operador"].id,
        assigned_by=owner,
    )
    account = _account(fixture, company, bot, mark) if fixture.is_ours else None
    conversation = add_conversation(fixture, company, bot, account, "+57300")
    messages = [
        fixture.add(
            "messages",
            company_id=company,
            conversation_id=conversation,
            content=f"secreto de {name}",
            sender_type="end_user",
        )
        for _ in range(3)
    ]
    document = add_document(fixture, company, owner, title="garantia del producto", description="x")
    chunk = fixture.add(
        "document_chunks",
        company_id=company,
        document_id=document,
        content="12 meses",
        chunk_index=0,
        character_count=8,
    )
    return Company(company, name, people, bot, account, conversation, messages[0], document, chunk)


def _login(fixture: FoundingFixture, email: str) -> UUID:
    if fixture.is_ours:
        query = "insert into auth.users (email, encrypted_password) values (%s, '!') returning id"
        return fixture.db.execute(query, (email,)).fetchone()[0]
    query = "insert into auth.users values (gen_random_uuid()) returning id"
    return fixture.db.execute(query).fetchone()[0]


def add_login(fixture: FoundingFixture, email: str) -> UUID:
    """A person who belongs to no company yet."""
    return _login(fixture, email)


def _account(fixture: FoundingFixture, company: UUID, bot: UUID, mark: str) -> UUID:
    return fixture.add(
        "channel_accounts",
        company_id=company,
        chatbot_id=bot,
        channel="whatsapp",
        routing_id=f"wa-{mark}-{secrets.token_hex(4)}",
        display_name="WhatsApp",
        secret_digest=hashlib.sha256(mark.encode()).digest(),
    )


def add_conversation(
    fixture: FoundingFixture,
    company: UUID,
    bot: UUID,
    account: UUID | None,
    end_user: str,
    **values: Any,
) -> UUID:
    return fixture.add(
        "conversations",
        company_id=company,
        chatbot_id=bot,
        channel_account_id=account,
        end_user_id=end_user,
        channel="whatsapp",
        **values,
    )


def add_document(fixture: FoundingFixture, company: UUID, uploader: UUID, **values: Any) -> UUID:
    """One that has been read; ``values`` name what is special about it."""
    return fixture.add("documents", **document(company, uploader), **values)


def document(company: UUID, uploader: UUID) -> dict[str, Any]:
    """The columns that every document has to have, in either design."""
    return {
        "company_id": company,
        "filename": "f",
        "original_filename": "f",
        "file_type": "txt",
        "file_size_bytes": 1,
        "file_url": "u",
        "content_digest": secrets.token_bytes(32),
        "uploaded_by": uploader,
    }
