"""The lookup of companies, owners and bots by name, for commands of the installation's operator.

It reads as the migrating login, over all companies. Commands then write as the company's owner,
under the policies.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from neurant.core.db.connection import connect
from neurant.core.db.pool import Connection, fetch_all
from neurant.core.db.tenancy import Staff
from neurant.core.errors import SetupError
from neurant.core.settings import Settings
from neurant.installation.embedded import connection_urls

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
select b.company_id, b.id from public.chatbots b
where b.company_id = any (%s) and lower(b.name) = lower(%s) and b.retired_at is null
"""


@dataclass(frozen=True, slots=True)
class _Company:
    company_id: UUID
    slug: str
    auth_user_id: UUID


@dataclass(frozen=True, slots=True)
class _Bot:
    company_id: UUID
    id: UUID


@dataclass(frozen=True, slots=True)
class Urls:
    """The database URLs of the command line, for the migrating and for the web login."""

    admin: str
    app: str


def database_urls(settings: Settings) -> Urls:
    """Return the URLs of the settings, or those of the embedded server."""
    if settings.admin_database_url and settings.app_database_url:
        return Urls(
            settings.admin_database_url.get_secret_value(),
            settings.app_database_url.get_secret_value(),
        )
    embedded = connection_urls(settings.data_dir)
    return Urls(embedded.admin, embedded.app)


async def find_bot(admin_url: str, bot: str, company: str | None) -> tuple[Staff, UUID]:
    """Return the owner of the company that has the bot, and the bot's id.

    Without ``company`` every company is searched. Raises SetupError: ``which_company`` names the
    companies if several have a bot of that name; ``unknown_chatbot`` names the bots of the only
    company; ``unknown_company``, ``no_company``.
    """
    async with await connect(admin_url) as connection:
        companies = await _find_companies(connection, company)
        by_id = {one.company_id: one for one in companies}
        found = await fetch_all(connection, _Bot, _BOT, (list(by_id), bot))
        if not found:
            raise await _no_such_bot(connection, bot, companies)
    if len(found) > 1:
        raise _which(one for one in companies if one.company_id in {b.company_id for b in found})
    return _staff(by_id[found[0].company_id]), found[0].id


async def find_owner(admin_url: str, company: str | None) -> Staff:
    """Return the owner of the company, as whom the command acts. Raises SetupError."""
    async with await connect(admin_url) as connection:
        companies = await _find_companies(connection, company)
    if len(companies) > 1:
        raise _which(companies)
    return _staff(companies[0])


async def _find_companies(connection: Connection, slug: str | None) -> list[_Company]:
    """Return the company with that short name, or all companies; at least one."""
    companies = await fetch_all(connection, _Company, _COMPANIES)
    if not companies:
        raise SetupError("no_company")
    chosen = [one for one in companies if slug is None or one.slug == slug]
    if not chosen:
        raise SetupError("unknown_company", company=slug)
    return chosen


async def _no_such_bot(connection: Connection, bot: str, companies: list[_Company]) -> SetupError:
    if len(companies) > 1:
        return SetupError("unknown_chatbot_anywhere", bot=bot)
    rows = await (await connection.execute(_BOTS, (companies[0].company_id,))).fetchall()
    names = ", ".join(f"«{row[0]}»" for row in rows) or "—"
    return SetupError("unknown_chatbot", bot=bot, bots=names)


def _which(companies: Iterable[_Company]) -> SetupError:
    return SetupError("which_company", companies=", ".join(one.slug for one in companies))


def _staff(company: _Company) -> Staff:
    return Staff(company.auth_user_id, company.company_id)
