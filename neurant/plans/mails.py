"""Mails to owners and administradores about their plan."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from neurant.core.db.pool import Connection, Pool, fetch_all
from neurant.core.formats import Formats
from neurant.core.logs import get_logger
from neurant.core.settings import Settings
from neurant.core.vault import Vault
from neurant.mail.message import as_language
from neurant.mail.service import queue_mail
from neurant.plans.limits import amount, plan_name
from neurant.texts import Language, text

# The kinds of notification that are also sent by mail; each is a mail template.
MAILED = (
    "usage_alert", "plan_changed", "plan_change_waits", "subscription_ended",
    "subscription_inactive", "trial_ends", "past_due", "company_closed",
)  # fmt: skip
_TAKE = """
select company_id, company_name, timezone, to_address, first_name, kind, details, language
from private.take_plan_mails(%s)
"""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _PlanMail:
    company_id: UUID
    company_name: str
    timezone: str
    to_address: str
    first_name: str
    kind: str
    details: dict[str, Any]
    language: str | None


async def run_plan_mails(pool: Pool, settings: Settings) -> int:
    """Queue a mail for every plan notification that has none yet; return how many.

    A mail is queued in the transaction that marks its notification, so it is queued exactly once.
    ``pool`` is the worker's login.
    """
    queued = 0
    while True:
        async with pool.connection() as connection, connection.transaction():
            some = await fetch_all(connection, _PlanMail, _TAKE, (list(MAILED),))
            for told in some:
                await _queue(connection, settings, told)
        queued += len(some)
        if not some:
            return queued


async def _queue(connection: Connection, settings: Settings, told: _PlanMail) -> None:
    # The founder of a company has no invitation, and so no stored language.
    language = as_language(told.language or "es")
    await queue_mail(
        connection,
        Vault(settings),
        to=told.to_address,
        template=f"plans.{told.kind}",
        language=language,
        params=_params(told, settings, language),
        company_id=told.company_id,
    )


def _params(told: _PlanMail, settings: Settings, language: Language) -> dict[str, str]:
    details = told.details
    params = {
        "name": told.first_name,
        "company": told.company_name,
        "link": f"{settings.base_url()}/console/plan",
    }
    if "plan" in details:
        params["plan"] = plan_name(str(details["plan"]))
    if "at" in details:
        params["until"] = Formats(language, told.timezone).date(
            datetime.fromisoformat(str(details["at"]))
        )
    if "limits" in details:
        named = [text(f"notifications.limit.{one}", language) for one in details["limits"]]
        params["limits"] = ", ".join(named) or "—"
    if told.kind == "usage_alert":
        limit = str(details["limit"])
        params["limit"] = text(f"notifications.limit.{limit}", language)
        params["level"] = str(details["level"])
        params["used"] = amount(limit, int(details["used"]))
        params["allowed"] = amount(limit, int(details["allowed"]))
    return params
