"""The commands ``neurant company plan``, ``past-due`` and ``requests`` for manual billing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.rows import class_row

from neurant.cli.company_lookup import database_urls
from neurant.core.db.connection import connect
from neurant.core.db.pool import command_pool
from neurant.core.errors import BadInputError, SetupError
from neurant.core.settings import Settings
from neurant.plans import queries
from neurant.plans.service import confirm_by_operator

_COMPANY = "select c.id as company_id from public.companies c where c.slug = %s"
_KNOWN = "select p.plan::text as plan from public.plans p order by p.rank"
_REQUESTS = """
select c.slug, r.plan::text as plan, u.email, r.created_at
from public.plan_requests r
join public.companies c on c.id = r.company_id
join public.users u on u.company_id = r.company_id and u.id = r.requested_by
where r.status = 'pending'
order by r.created_at
"""


@dataclass(frozen=True, slots=True)
class Request:
    """A plan that an owner requested and nobody has confirmed yet."""

    slug: str
    plan: str
    email: str
    created_at: datetime


async def give_plan(settings: Settings, slug: str, plan: str) -> None:
    """Confirm a plan of a company. Raises SetupError, BadInputError, ConflictError."""
    urls = database_urls(settings)
    company_id = await _find(urls.admin, slug)
    async with await connect(urls.admin) as connection:
        known = [str(row[0]) for row in await (await connection.execute(_KNOWN)).fetchall()]
    if plan not in known:
        raise BadInputError("plan.unknown", plans=", ".join(known))
    async with command_pool(urls.app) as pool:
        await confirm_by_operator(pool, company_id, plan)


async def miss_payment(settings: Settings, slug: str) -> bool:
    """Record an overdue payment; return False if none was due or it is already recorded."""
    urls = database_urls(settings)
    company_id = await _find(urls.admin, slug)
    async with command_pool(urls.app) as pool:
        return await queries.set_past_due(pool, company_id) == "past_due"


async def list_requests(settings: Settings) -> list[Request]:
    """Return the plan requests that wait for confirmation, the oldest first."""
    async with await connect(database_urls(settings).admin) as connection:
        cursor = connection.cursor(row_factory=class_row(Request))
        return await (await cursor.execute(_REQUESTS)).fetchall()


async def _find(admin_url: str, slug: str) -> UUID:
    async with await connect(admin_url) as connection:
        row = await (await connection.execute(_COMPANY, (slug,))).fetchone()
    if row is None:
        raise SetupError("unknown_company", company=slug)
    return UUID(str(row[0]))
