"""Two companies for every test: ``acme``, and ``rival`` that must see nothing of it (or the reverse).

Rows are committed for real, under new ids each time, so tests neither clean up nor meet.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from uuid import UUID

import psycopg

from neurant.channels.telegram.inbound import credential
from neurant.core.db.tenancy import Staff

ROLES = ("owner", "administrador", "supervisor", "operador")


@dataclass(frozen=True)
class Person:
    id: UUID
    auth_user_id: UUID
    email: str
    first_name: str


@dataclass(frozen=True)
class Company:
    """A company with a person per role and one bot, reached by web chat and by Telegram."""

    id: UUID
    name: str
    slug: str
    bot_id: UUID
    bot_name: str
    web: str
    telegram: str
    telegram_secret: str
    people: dict[str, Person]

    def staff(self, role: str) -> Staff:
        return Staff(self.people[role].auth_user_id, self.id)


def make_company(
    admin_url: str, name: str, *, delay_ms: int = 0, password_hash: str = "!"
) -> Company:
    mark = secrets.token_hex(4)
    with psycopg.connect(admin_url) as db:

        def one(query: str, *params: object) -> UUID:
            return db.execute(query, params).fetchone()[0]

        company = one(
            "insert into companies (name, slug, email, monthly_reset_date, subscription_plan, monthly_message_limit,"
            " max_chatbots, max_users, max_integrations, max_document_characters, max_storage_mb,"
            " max_hitl_concurrent) values (%s, %s, %s, (now() at time zone 'America/Bogota')::date, 'enterprise', -1, -1, -1, -1, -1, -1, -1)"
            " returning id",
            name.title(),
            f"{name}-{mark}",
            f"hola@{name}-{mark}.example",
        )
        people = {}
        for role in ROLES:
            email = f"{role}@{name}-{mark}.example"
            login = one(
                "insert into auth.users (email, encrypted_password) values (%s, %s) returning id",
                email,
                password_hash,
            )
            user = one(
                "insert into users (company_id, auth_user_id, email, first_name, last_name, role,"
                " is_owner) values (%s, %s, %s, %s, %s, %s, %s) returning id",
                company,
                login,
                email,
                f"{role.title()}",
                name.title(),
                role,
                role == "owner",
            )
            people[role] = Person(user, login, email, role.title())
        owner = people["owner"].id
        bot = one(
            "insert into chatbots (company_id, name, system_prompt, response_delay_ms,"
            " hitl_trigger_keywords, created_by) values (%s, %s, 'Responde.', %s, '{queja}', %s)"
            " returning id",
            company,
            f"Bot {name}",
            delay_ms,
            owner,
        )
        db.execute(
            "insert into chatbot_operators (company_id, chatbot_id, operator_id, assigned_by)"
            " values (%s, %s, %s, %s)",
            (company, bot, people["operador"].id, owner),
        )
        web, telegram, secret = f"web-{name}-{mark}", f"tg-{name}-{mark}", secrets.token_urlsafe(24)
        db.execute(
            "insert into channel_accounts (company_id, chatbot_id, channel, routing_id, display_name,"
            " secret_digest) values (%s, %s, 'web', %s, 'Web', null), (%s, %s, 'telegram', %s, '@bot', %s)",
            (company, bot, web, company, bot, telegram, credential(secret.encode())),
        )
    return Company(
        company, name.title(), f"{name}-{mark}", bot, f"Bot {name}", web, telegram, secret, people
    )


def open_visitor(admin_url: str, company: Company) -> tuple[str, bytes]:
    """A visitor's token and its digest."""
    token = secrets.token_urlsafe(16)
    digest = hashlib.sha256(token.encode()).digest()
    with psycopg.connect(admin_url) as db:
        db.execute("select private.open_visitor_session(%s, %s, '1 day')", (company.web, digest))
    return token, digest
