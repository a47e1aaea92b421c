"""Connecting a Telegram bot: check its token, store it encrypted, register our webhook.

Sources: https://core.telegram.org/bots/api#getme and #setwebhook (``secret_token``: 1-256
characters of A-Z, a-z, 0-9, _ and -).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from neurant.api.outbound_limit import outbound_slot
from neurant.channels.telegram.inbound import credential
from neurant.core.db.pool import Connection, fetch_value
from neurant.core.errors import ConflictError, UnavailableError
from neurant.core.ids import uuid7
from neurant.core.outbound_http import make_client
from neurant.core.settings import Settings
from neurant.core.vault import ensure_company_key, seal_secret

_UPDATES = ["message", "edited_message"]
_BOT = "select b.id from public.chatbots b where b.id = %s and b.retired_at is null"
_EXISTING = """
select a.id, a.routing_id from public.channel_accounts a
where a.chatbot_id = %s and a.channel = 'telegram' and a.display_name = %s
"""
_INSERT = """
insert into public.channel_accounts (company_id, id, chatbot_id, channel, routing_id, display_name,
  secret_digest, secrets_encrypted)
values (%s, %s, %s, 'telegram', %s, %s, %s, %s)
"""
_UPDATE = """
update public.channel_accounts
set secret_digest = %s, secrets_encrypted = %s, status = 'connected', status_detail = null
where id = %s
"""


@dataclass(frozen=True, slots=True)
class Connecting:
    """A Telegram bot that is being connected, with its name and its future webhook."""

    company_id: UUID
    bot_id: UUID
    token: str
    name: str
    routing_id: str
    secret: str


async def connect_in_steps(
    opened: Callable[[], AbstractAsyncContextManager[Connection]],
    settings: Settings,
    company_id: UUID,
    bot_id: UUID,
    token: str,
) -> UUID | None:
    """Connect a bot in transactions that ``opened`` begins, none of which spans a call to Telegram.

    Returns None for a retired bot or one of another company. Raises the errors of ``ask_name`` and
    ``set_webhook``.
    """
    async with opened() as connection:
        if not await is_theirs(connection, bot_id):
            return None
    name = await ask_name(settings, company_id, token)
    async with opened() as connection:
        found = await prepare(connection, settings, company_id, bot_id, token, name)
    await set_webhook(settings, found)
    async with opened() as connection:
        return await store(connection, settings, found)


async def is_theirs(connection: Connection, bot_id: UUID) -> bool:
    """Return whether the bot belongs to the caller's company and is not retired."""
    return await fetch_value(connection, _BOT, (bot_id,)) is not None


async def ask_name(settings: Settings, company_id: UUID, token: str) -> str:
    """Return the name of the token's bot at Telegram, with its @.

    Raises ConflictError (``telegram_token_refused``), UnavailableError (``telegram_away``), and
    RateLimitedError while too many calls to other servers run for the company.
    """
    async with outbound_slot(company_id), make_client(settings, seconds=15) as client:
        me = await _call(client, settings, token, "getMe", {})
    return f"@{me['username']}"


async def prepare(
    connection: Connection,
    settings: Settings,
    company_id: UUID,
    bot_id: UUID,
    token: str,
    name: str,
) -> Connecting:
    """Return the webhook to register, after a trial insert that is rolled back.

    The trial ensures that Telegram gets no webhook that the database would refuse (the plan has no
    room, the bot is retired).
    """
    existing = await (await connection.execute(_EXISTING, (bot_id, name))).fetchone()
    routing_id = str(existing[1]) if existing else secrets.token_urlsafe(18)
    secret = secrets.token_urlsafe(48)
    found = Connecting(company_id, bot_id, token, name, routing_id, secret)
    async with connection.transaction(force_rollback=True):
        await store(connection, settings, found)
    return found


async def set_webhook(settings: Settings, found: Connecting) -> None:
    """Register the webhook at Telegram. Raises the errors of ``ask_name``.

    It precedes storing the account, because an account without a webhook is not connected.
    """
    webhook = {
        "url": f"{settings.base_url()}/webhooks/telegram/{found.routing_id}",
        "secret_token": found.secret,
        "allowed_updates": _UPDATES,
    }
    async with outbound_slot(found.company_id), make_client(settings, seconds=15) as client:
        await _call(client, settings, found.token, "setWebhook", webhook)


async def store(connection: Connection, settings: Settings, found: Connecting) -> UUID:
    """Store the account with its encrypted token, in the caller's transaction. Returns its id."""
    company_id = found.company_id
    await ensure_company_key(connection, settings, company_id)
    digest = credential(found.secret.encode())
    existing = await (await connection.execute(_EXISTING, (found.bot_id, found.name))).fetchone()
    account_id = existing[0] if existing else uuid7()
    sealed = await seal_secret(connection, settings, company_id, account_id, found.token)
    if existing:
        await connection.execute(_UPDATE, (digest, sealed, account_id))
    else:
        row = (company_id, account_id, found.bot_id, found.routing_id, found.name, digest, sealed)
        await connection.execute(_INSERT, row)
    assert isinstance(account_id, UUID)  # noqa: S101 - the column's type
    return account_id


async def _call(
    client: httpx.AsyncClient, settings: Settings, token: str, method: str, body: dict[str, Any]
) -> dict[str, Any]:
    url = f"{settings.telegram_api_url.rstrip('/')}/bot{token}/{method}"
    try:
        response = await client.post(url, json=body)
        answer = response.json()
    except (httpx.HTTPError, ValueError) as error:
        raise UnavailableError("telegram_away", reason=type(error).__name__) from None
    if not answer.get("ok"):
        reason = answer.get("description", response.status_code)
        raise ConflictError("telegram_token_refused", reason=reason)
    result = answer["result"]
    return result if isinstance(result, dict) else {}
