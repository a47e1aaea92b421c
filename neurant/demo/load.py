"""The sample company of ``neurant up --demo``: a dental clinic with four people, a bot, documents.

It is stored like any company: the rows are those of a sign-up, and the documents are processed like
every upload. Loading it again changes nothing.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from argon2 import PasswordHasher

from neurant.core.db.connection import connect
from neurant.core.db.pool import Connection, command_pool, fetch_value, require_url
from neurant.core.db.tenancy import Staff
from neurant.core.object_store import open_store
from neurant.core.settings import Settings
from neurant.knowledge.service import store_document

SLUG = "clinica-los-cedros"
BOT = "Asistente Los Cedros"
ROUTING_ID = "demo-los-cedros"
DOCUMENTS = Path(__file__).parent / "documents"

_PEOPLE = (
    ("owner", "Lucía", "Peña", "lucia@loscedros.example"),
    ("administrador", "Tomás", "Rey", "tomas@loscedros.example"),
    ("supervisor", "Diana", "Mora", "diana@loscedros.example"),
    ("operador", "Marcela", "Gómez", "marcela@loscedros.example"),
)
_PROMPT = (
    "Eres el asistente de la Clínica Dental Los Cedros. Respondes solo con lo que dicen los"
    " documentos de la clínica y, cuando no basta, pasas la conversación a recepción."
)

_COMPANY = """
insert into public.companies (name, slug, email, phone, industry, website, subscription_plan,
  subscription_started_at, monthly_message_limit, max_chatbots, max_users, max_integrations,
  max_document_characters, max_storage_mb, max_hitl_concurrent)
select 'Clínica Dental Los Cedros', %s, 'hola@loscedros.example', '+57 601 555 0142', 'health',
  'https://loscedros.example', p.plan, now(), p.monthly_message_limit, p.max_chatbots, p.max_users,
  p.max_integrations, p.max_document_characters, p.max_storage_mb, p.max_hitl_concurrent
from public.plans p
where p.plan = 'business'
returning id
"""
_LOGIN = """
insert into auth.users (email, encrypted_password, email_confirmed_at) values (%s, %s, now())
returning id
"""
_USER = """
insert into public.users (company_id, auth_user_id, email, first_name, last_name, role, is_owner)
values (%s, %s, %s, %s, %s, %s, %s)
returning id
"""
_BOT = """
insert into public.chatbots (company_id, name, description, system_prompt, personality_traits,
  response_delay_ms, hitl_trigger_keywords, created_by)
values (%s, %s, 'Precios, horarios, citas y políticas de la clínica.', %s,
  '{"tone": "friendly", "language": "es"}', 100, '{queja,reclamo}', %s)
returning id
"""
_OPERATOR = """
insert into public.chatbot_operators (company_id, chatbot_id, operator_id, assigned_by)
values (%s, %s, %s, %s)
"""
_CHAT = """
insert into public.channel_accounts (company_id, chatbot_id, channel, routing_id, display_name)
values (%s, %s, 'web', %s, 'Chat web')
"""
_READY = """
select count(*) filter (where d.processing_status in ('pending', 'processing')) = 0
  and count(*) > 0
from public.documents d
join public.companies c on c.id = d.company_id
where c.slug = %s
"""


@dataclass(frozen=True, slots=True)
class DemoCompany:
    """The logins and addresses to show to the person who started the demo."""

    password: str
    logins: list[tuple[str, str]] = field(
        default_factory=lambda: [(role, email) for role, _, _, email in _PEOPLE]
    )
    chat_path: str = f"/chat/{ROUTING_ID}"
    bot_name: str = BOT


async def load_demo(settings: Settings, admin_url: str) -> DemoCompany:
    """Create the sample company unless it exists; return its logins."""
    password = _password(settings)
    async with await connect(admin_url) as connection:
        # Two processes that start at the same time must not both create it.
        await connection.execute("select pg_advisory_xact_lock(hashtext('neurant demo'))")
        found = await _existing(connection)
        owner, bot = found or await _make(connection, password)
        known = await connection.execute(
            "select original_filename from public.documents where company_id = %s",
            (owner.company_id,),
        )
        there = {str(row[0]) for row in await known.fetchall()}
    await _add_documents(settings, owner, bot, there)
    return DemoCompany(password)


async def demo_documents_ready(admin_url: str) -> bool:
    """Return whether all of the bot's documents are processed."""
    async with await connect(admin_url) as connection:
        return bool(await fetch_value(connection, _READY, (SLUG,)))


def _password(settings: Settings) -> str:
    """Return the password of the four people, random per data folder, as a demo may be public."""
    path = settings.data_dir.expanduser().resolve() / "demo.json"
    if path.exists():
        return str(json.loads(path.read_text("utf-8"))["password"])
    password = f"cedros-{secrets.token_hex(4)}"
    path.touch(0o600)
    path.write_text(json.dumps({"password": password}), "utf-8")
    return password


async def _existing(connection: Connection) -> tuple[Staff, UUID] | None:
    cursor = await connection.execute(
        "select u.auth_user_id, c.id, b.id from public.companies c"
        " join public.users u on u.company_id = c.id and u.is_owner"
        " join public.chatbots b on b.company_id = c.id and b.name = %s where c.slug = %s",
        (BOT, SLUG),
    )
    row = await cursor.fetchone()
    return (Staff(row[0], row[1]), row[2]) if row else None


async def _make(connection: Connection, password: str) -> tuple[Staff, UUID]:
    hashed = await asyncio.to_thread(PasswordHasher().hash, password)
    company = await _one(connection, _COMPANY, (SLUG,))
    people: dict[str, tuple[UUID, UUID]] = {}
    for role, first, last, email in _PEOPLE:
        login = await _one(connection, _LOGIN, (email, hashed))
        row = (company, login, email, first, last, role, role == "owner")
        people[role] = login, await _one(connection, _USER, row)
    owner_login, owner = people["owner"]
    bot = await _one(connection, _BOT, (company, BOT, _PROMPT, owner))
    await connection.execute(_OPERATOR, (company, bot, people["operador"][1], owner))
    await connection.execute(_CHAT, (company, bot, ROUTING_ID))
    return Staff(owner_login, company), bot


async def _one(connection: Connection, query: str, params: tuple[object, ...]) -> UUID:
    value = await fetch_value(connection, query, params)
    assert isinstance(value, UUID)  # noqa: S101 - the statement returns a uuid column
    return value


async def _add_documents(settings: Settings, owner: Staff, bot: UUID, there: set[str]) -> None:
    """Add the documents that were never added; a document that was retired stays retired."""
    url = require_url(settings.app_database_url, "NEURANT_APP_DATABASE_URL")
    async with command_pool(url) as pool:
        store = open_store(settings)
        for path in sorted(DOCUMENTS.iterdir()):
            if path.name not in there:
                data = await asyncio.to_thread(path.read_bytes)
                await store_document(pool, store, settings, owner, bot, path.name, data)
