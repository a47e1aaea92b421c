"""Finding a company, its owner and its bots by name, for the command line of the machine's owner.

This reads as the migrating login, over all companies; whatever is then written is written as the
company's owner, under the policies.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from neurant.database.connection import connect
from neurant.database.embedded import connection_urls
from neurant.database.pool import Connection, Pool, fetch_all, fetch_value, make_pool
from neurant.database.tenancy import Staff
from neurant.errors import SetupError
from neurant.settings import Settings

_COMPANIES = """
select c.id as company_id, c.slug, u.auth_user_id
from public.companies c
join public.users u on u.company_id = c.id and u.is_owner
where c.subscription_status <> 'cancelled' and u.is_active and u.auth_user_id is not null
order by c.slug
"""
_BOTS = """
select b.name from public.chatbots b
where b.company_id = %s and b.retired_at is null
order by b.name
"""
_BOT = """
select b.id from public.chatbots b
where b.company_id = %s and lower(b.name) = lower(%s) and b.retired_at is null
"""


@dataclass(frozen=True, slots=True)
class _Company:
    company_id: UUID
    slug: str
    auth_user_id: UUID


@dataclass(frozen=True, slots=True)
class Urls:
    """How the command line reaches the database."""

    admin: str
    app: str


def database_urls(settings: Settings) -> Urls:
    """From the settings where they say, else those of the embedded server on the data folder."""
    if settings.admin_database_url and settings.app_database_url:
        return Urls(
            settings.admin_database_url.get_secret_value(),
            settings.app_database_url.get_secret_value(),
        )
    embedded = connection_urls(settings.data_dir)
    return Urls(embedded.admin, embedded.app)


async def find_bot(admin_url: str, bot: str, company: str | None) -> tuple[Staff, UUID]:
    """The owner of the company and the bot's id. SetupError names what there is."""
    async with await connect(admin_url) as connection:
        found = await _find_company(connection, company)
        bot_id = await fetch_value(connection, _BOT, (found.company_id, bot))
        if not isinstance(bot_id, UUID):
            rows = await (await connection.execute(_BOTS, (found.company_id,))).fetchall()
            names = ", ".join(f"«{row[0]}»" for row in rows) or "—"
            raise SetupError("unknown_chatbot", bot=bot, bots=names)
    return Staff(found.auth_user_id, found.company_id), bot_id


async def find_owner(admin_url: str, company: str | None) -> Staff:
    """The owner of the company, to act as. SetupError names what there is."""
    async with await connect(admin_url) as connection:
        found = await _find_company(connection, company)
    return Staff(found.auth_user_id, found.company_id)


async def _find_company(connection: Connection, slug: str | None) -> _Company:
    companies = await fetch_all(connection, _Company, _COMPANIES)
    if not companies:
        raise SetupError("no_company")
    if slug is None and len(companies) > 1:
        raise SetupError("which_company", companies=", ".join(c.slug for c in companies))
    for one in companies:
        if slug is None or one.slug == slug:
            return one
    raise SetupError("unknown_company", company=slug)


def command_pool(app_url: str) -> Pool:
    """A small pool for one command."""
    return make_pool(app_url, size=2, pooled=False)
