"""Mails to owner and administradores about domains whose proof is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from neurant.core.db.pool import Pool, fetch_all
from neurant.core.settings import Settings
from neurant.core.vault import Vault
from neurant.mail.message import as_language
from neurant.mail.service import queue_mail

MAILED = ("sso_domain_failing", "sso_domain_unproven")  # kinds of notifications, and templates
_TAKE = """
select company_id, company_name, to_address, first_name, kind, details, language
from private.take_plan_mails(%s)
"""


@dataclass(frozen=True, slots=True)
class _DomainMail:
    company_id: UUID
    company_name: str
    to_address: str
    first_name: str
    kind: str
    details: dict[str, Any]
    language: str | None


async def run_domain_mails(pool: Pool, settings: Settings) -> int:
    """Queue a mail for each such notification, in the transaction that marks it; return how many.

    ``pool`` uses the worker's login.
    """
    queued = 0
    while True:
        async with pool.connection() as connection, connection.transaction():
            some = await fetch_all(connection, _DomainMail, _TAKE, (list(MAILED),))
            for one in some:
                await queue_mail(
                    connection,
                    Vault(settings),
                    to=one.to_address,
                    template=f"sso.{one.kind.removeprefix('sso_')}",
                    language=as_language(one.language or "es"),
                    params={
                        "name": one.first_name,
                        "company": one.company_name,
                        "domain": str(one.details["domain"]),
                        "link": f"{settings.base_url()}/console/settings/sso",
                    },
                    company_id=one.company_id,
                )
        queued += len(some)
        if not some:
            return queued
