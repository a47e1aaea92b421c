"""The command ``neurant channels connect telegram``."""

from __future__ import annotations

from neurant.channels.telegram.setup import connect_in_steps
from neurant.cli.company_lookup import database_urls, find_bot
from neurant.core.db.pool import command_pool, fetch_value
from neurant.core.db.tenancy import tenant
from neurant.core.errors import SetupError
from neurant.core.settings import Settings

_NAME = "select a.display_name from public.channel_accounts a where a.id = %s"


async def connect(settings: Settings, bot: str, token: str, company: str | None) -> str:
    """Connect the bot, or reconnect it with a new token; return its name on Telegram."""
    if settings.public_url is None and settings.telegram_api_url == "https://api.telegram.org":
        raise SetupError("public_url_missing")
    urls = database_urls(settings)
    staff, bot_id = await find_bot(urls.admin, bot, company)
    async with command_pool(urls.app) as pool:
        account_id = await connect_in_steps(
            lambda: tenant(pool, staff), settings, staff.company_id, bot_id, token
        )
        async with tenant(pool, staff) as connection:
            name = await fetch_value(connection, _NAME, (account_id,))
    return str(name)
