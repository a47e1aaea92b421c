"""Connecting a Telegram bot: check its token, keep it sealed, register our webhook.

https://core.telegram.org/bots/api#getme and #setwebhook (``secret_token``: 1-256 characters of
A-Z, a-z, 0-9, _ and -).
"""

from __future__ import annotations

import secrets
from typing import Any
from uuid import UUID

import httpx

from neurant.api.outside import asking_outside
from neurant.channels.telegram.inbound import credential
from neurant.companies.lookup import command_pool, database_urls, find_bot
from neurant.database.pool import Connection, fetch_value
from neurant.database.tenancy import tenant
from neurant.errors import ConflictError, SetupError, UnavailableError
from neurant.settings import Settings
from neurant.vault import ensure_company_key, seal_secret

_UPDATES = ["message", "edited_message"]
_BOT = "select b.id from public.chatbots b where b.id = %s and b.retired_at is null"
_NAME = "select a.display_name from public.channel_accounts a where a.id = %s"
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


async def connect(settings: Settings, bot: str, token: str, company: str | None) -> str:
    """Connect (or reconnect with a new token) the bot; the name that Telegram knows it by."""
    if settings.public_url is None and settings.telegram_api_url == "https://api.telegram.org":
        raise SetupError("public_url_missing")
    urls = database_urls(settings)
    staff, bot_id = await find_bot(urls.admin, bot, company)
    async with command_pool(urls.app) as pool, tenant(pool, staff) as connection:
        account_id = await connect_account(connection, settings, staff.company_id, bot_id, token)
        name = await fetch_value(connection, _NAME, (account_id,))
    return str(name)


async def connect_account(
    connection: Connection, settings: Settings, company_id: UUID, bot_id: UUID, token: str
) -> UUID | None:
    """Connect a bot in the caller's transaction; None where it is retired or not the caller's.

    Raises BadInputError (``telegram_token_refused``), UnavailableError (``telegram_away``).
    """
    if await fetch_value(connection, _BOT, (bot_id,)) is None:
        return None
    async with asking_outside(), httpx.AsyncClient(timeout=15) as client:
        me = await _call(client, settings, token, "getMe", {})
        name, secret = f"@{me['username']}", secrets.token_urlsafe(48)
        account_id, routing_id = await _store(
            connection, settings, company_id, bot_id, name, token, secret
        )
        # Inside the transaction: without the webhook there is no connected account.
        webhook = {
            "url": f"{settings.base_url()}/webhooks/telegram/{routing_id}",
            "secret_token": secret,
            "allowed_updates": _UPDATES,
        }
        await _call(client, settings, token, "setWebhook", webhook)
    return account_id


async def _store(
    connection: Connection,
    settings: Settings,
    company_id: UUID,
    bot_id: UUID,
    name: str,
    token: str,
    secret: str,
) -> tuple[UUID, str]:
    await ensure_company_key(connection, settings, company_id)
    digest = credential(secret.encode())
    existing = await (await connection.execute(_EXISTING, (bot_id, name))).fetchone()
    if existing is not None:
        account_id, routing_id = existing
        sealed = await seal_secret(connection, settings, company_id, account_id, token)
        await connection.execute(_UPDATE, (digest, sealed, account_id))
        return account_id, str(routing_id)
    account_id = await fetch_value(connection, "select uuidv7()")
    assert isinstance(account_id, UUID)  # noqa: S101 - what uuidv7() returns
    routing_id = secrets.token_urlsafe(18)
    sealed = await seal_secret(connection, settings, company_id, account_id, token)
    await connection.execute(
        _INSERT, (company_id, account_id, bot_id, routing_id, name, digest, sealed)
    )
    return account_id, routing_id


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
