"""The limits of a plan and their texts. The database enforces the limits (SQLSTATE NA002)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import psycopg

from neurant.core.db.pool import Connection, Pool, fetch_all, fetch_one
from neurant.core.db.tenancy import Principal, tenant
from neurant.core.errors import ConflictError, LimitReachedError
from neurant.core.settings import MEGABYTE
from neurant.texts import Language, text

REACHED = "NA002"
_NO_CHANNEL = """
select 'channels' as limit_name, 0 as used, 0 as allowed, (
  select q.plan::text from public.plans q
  where q.rank > p.rank and %(channel)s = any (q.channels::text[])
  order by q.rank limit 1) as next_plan
from public.companies c join public.plans p on p.plan = c.subscription_plan
where %(channel)s <> all (p.channels::text[])
"""
# The limits that a plan can set to zero, so that the plan lacks the feature.
_ABSENT = ("max_integrations", "max_document_characters", "max_storage_mb", "max_hitl_concurrent")
_DOCUMENTS = ("max_document_characters", "max_storage_mb")
_USAGE = "select limit_name, used, allowed, next_plan::text from private.usage()"


@dataclass(frozen=True, slots=True)
class LimitUse:
    """A limit, named as its column of ``companies``, and how much of it is used.

    ``max_storage_mb`` is in bytes, the others are counts; -1 means unlimited. ``next_plan`` is the
    cheapest plan that allows more, None if there is none.
    """

    limit_name: str
    used: int
    allowed: int
    next_plan: str | None


@dataclass(frozen=True, slots=True)
class LimitReached:
    """A feature for which the plan has no room: the reason, and the plan that has room."""

    message: str
    plan: str | None

    @property
    def plan_name(self) -> str:
        """Return the display name of that plan."""
        return plan_name(self.plan or "")


@dataclass(frozen=True, slots=True)
class Excess:
    """A limit of a plan that the company's use exceeds, with both numbers.

    The units are those of ``LimitUse``; for ``channels``, ``used`` counts the connected accounts of
    channels that the plan lacks.
    """

    limit_name: str
    used: int
    allowed: int


class PlanTooSmallError(ConflictError):
    """The company's use does not fit in a plan; ``excess`` lists the exceeded limits."""

    def __init__(self, plan: str, excess: list[Excess]) -> None:
        super().__init__("plan.does_not_fit", plan=plan_name(plan))
        self.excess = excess

    def detail(self, language: Language = "es") -> str:
        """Return the error text with the list of exceeded limits."""
        told = "; ".join(excess_in_words(one, language) for one in self.excess)
        return text(f"errors.{self.code}", language, plan=self.params["plan"], excess=told)


async def list_usage(connection: Connection) -> list[LimitUse]:
    """Return every limit of the caller's company, exact at this moment."""
    return await fetch_all(connection, LimitUse, _USAGE)


async def channel_limit(
    connection: Connection, channel: str, language: Language
) -> LimitReached | None:
    """Return why the caller's plan does not allow a channel, or None if it does."""
    use = await fetch_one(connection, LimitUse, _NO_CHANNEL, {"channel": channel})
    return _limit_reached(use, language) if use else None


def documents_limit(usage: Sequence[LimitUse], language: Language) -> LimitReached | None:
    """Return why no document of any size fits in the plan, or None if one may fit."""
    known = [one for one in usage if one.limit_name in _DOCUMENTS and one.allowed != -1]
    full = next((one for one in known if one.used >= one.allowed), None)
    return _limit_reached(full, language) if full else None


def people_limit(usage: Sequence[LimitUse], language: Language) -> LimitReached | None:
    """Return why the plan allows no takeovers at all, or None if it allows some."""
    absent = (one for one in usage if one.limit_name == "max_hitl_concurrent" and not one.allowed)
    use = next(absent, None)
    return _limit_reached(use, language) if use else None


def _limit_reached(use: LimitUse, language: Language) -> LimitReached:
    return LimitReached(limit_error(use).detail(language), use.next_plan)


@asynccontextmanager
async def within_limits(pool: Pool, principal: Principal) -> AsyncIterator[Connection]:
    """Open ``tenant()`` and convert a reached limit to a LimitReachedError with advice."""
    try:
        async with tenant(pool, principal) as connection:
            yield connection
    except psycopg.Error as error:
        if error.sqlstate != REACHED:
            raise
        raise await reached(pool, principal, error) from None


async def reached(pool: Pool, principal: Principal, error: psycopg.Error) -> LimitReachedError:
    """Build the error for a refusal with SQLSTATE NA002, with the next plan that allows more."""
    told = json.loads(error.diag.message_detail or "{}")
    async with tenant(pool, principal) as connection:
        known = {one.limit_name: one.next_plan for one in await list_usage(connection)}
    # For a missing channel, the database names the plan that has it.
    next_plan = told.get("next_plan") or known.get(told["limit"])
    return limit_error(LimitUse(told["limit"], told["used"], told["allowed"], next_plan))


def level(use: LimitUse) -> Literal["ok", "high", "critical", "reached"]:
    """Return how near the limit the use is, with the thresholds of the alerts (80 and 95 %)."""
    if use.allowed == -1:
        return "ok"
    if use.used >= use.allowed:
        return "reached" if use.allowed or use.used else "ok"
    share = use.used * 100 / use.allowed
    return "critical" if share >= 95 else "high" if share >= 80 else "ok"


def limit_error(use: LimitUse) -> LimitReachedError:
    """Build the error for a reached limit, with its use and the next plan, if there is one."""
    params: dict[str, Any] = {
        "used": amount(use.limit_name, use.used),
        "allowed": amount(use.limit_name, use.allowed),
    }
    if use.next_plan is None:
        return LimitReachedError(f"limit.last.{use.limit_name}", **params)
    params["plan"] = plan_name(use.next_plan)
    if not use.allowed and use.limit_name in _ABSENT:
        return LimitReachedError(f"limit.none.{use.limit_name}", **params)
    return LimitReachedError(f"limit.next.{use.limit_name}", **params)


def excess_in_words(excess: Excess, language: Language) -> str:
    """Return the text for a limit that a plan exceeds, with both numbers."""
    if excess.limit_name == "channels":
        return text("plans.excess_channels", language, used=excess.used)
    return text(
        "plans.excess",
        language,
        what=text(f"plans.limit.{excess.limit_name}", language),
        used=amount(excess.limit_name, excess.used),
        allowed=amount(excess.limit_name, excess.allowed),
    )


def plan_name(plan: str) -> str:
    """Return the display name of a plan, which is the same in every language."""
    return plan.capitalize()


def amount(limit_name: str, value: int) -> str:
    """Format a quantity of a limit, the same in every language: ``250 000``, ``20 MB``."""
    if limit_name == "max_storage_mb":
        return f"{-(-value // MEGABYTE)} MB"
    return f"{value:,}".replace(",", "\N{NO-BREAK SPACE}")
