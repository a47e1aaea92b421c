"""The limits of a plan, as people are told of them. The database holds them (SQLSTATE NA002)."""

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
# What a plan may not hold at all.
_ABSENT = ("max_integrations", "max_document_characters", "max_storage_mb", "max_hitl_concurrent")
_DOCUMENTS = ("max_document_characters", "max_storage_mb")
_USAGE = "select limit_name, used, allowed, next_plan::text from private.usage()"


@dataclass(frozen=True, slots=True)
class LimitUse:
    """A limit (named as its column of ``companies``) and how much of it is used.

    ``max_storage_mb`` is told in bytes, the others are counts; -1 allows everything. ``next_plan``
    is the cheapest that allows more, None where there is none.
    """

    limit_name: str
    used: int
    allowed: int
    next_plan: str | None


@dataclass(frozen=True, slots=True)
class Shut:
    """Something that the plan has no room for: in words, and the plan that has it."""

    told: str
    plan: str | None

    @property
    def plan_name(self) -> str:
        """That plan as it is sold."""
        return plan_name(self.plan or "")


@dataclass(frozen=True, slots=True)
class Excess:
    """A limit of a plan in which the company's use does not fit, and by how much.

    Units as in ``LimitUse``; ``channels`` counts the accounts connected to a channel that the plan
    lacks.
    """

    limit_name: str
    used: int
    allowed: int


class PlanTooSmallError(ConflictError):
    """What the company uses does not fit in a plan; ``excess`` says what, and by how much."""

    def __init__(self, plan: str, excess: list[Excess]) -> None:
        super().__init__("plan.does_not_fit", plan=plan_name(plan))
        self.excess = excess

    def detail(self, language: Language = "es") -> str:
        """What does not fit, in words."""
        told = "; ".join(excess_in_words(one, language) for one in self.excess)
        return text(f"errors.{self.code}", language, plan=self.params["plan"], excess=told)


async def list_usage(connection: Connection) -> list[LimitUse]:
    """Every limit of the caller's company, exact at this moment."""
    return await fetch_all(connection, LimitUse, _USAGE)


async def shut_channel(connection: Connection, channel: str, language: Language) -> Shut | None:
    """Why a channel cannot be connected on the caller's plan; None where it can."""
    use = await fetch_one(connection, LimitUse, _NO_CHANNEL, {"channel": channel})
    return _shut(use, language) if use else None


def shut_documents(usage: Sequence[LimitUse], language: Language) -> Shut | None:
    """Why no document fits, whatever its size; None where one may."""
    known = [one for one in usage if one.limit_name in _DOCUMENTS and one.allowed != -1]
    full = next((one for one in known if one.used >= one.allowed), None)
    return _shut(full, language) if full else None


def shut_people(usage: Sequence[LimitUse], language: Language) -> Shut | None:
    """Why nobody can take a conversation over, however few do; None where somebody can."""
    absent = (one for one in usage if one.limit_name == "max_hitl_concurrent" and not one.allowed)
    use = next(absent, None)
    return _shut(use, language) if use else None


def _shut(use: LimitUse, language: Language) -> Shut:
    return Shut(limit_error(use).detail(language), use.next_plan)


@asynccontextmanager
async def within_limits(pool: Pool, principal: Principal) -> AsyncIterator[Connection]:
    """``tenant()``, where a limit that is reached is a LimitReachedError that says what to do."""
    try:
        async with tenant(pool, principal) as connection:
            yield connection
    except psycopg.Error as error:
        if error.sqlstate != REACHED:
            raise
        raise await reached(pool, principal, error) from None


async def reached(pool: Pool, principal: Principal, error: psycopg.Error) -> LimitReachedError:
    """The error for what the database refused as REACHED, with the next plan that allows more."""
    told = json.loads(error.diag.message_detail or "{}")
    async with tenant(pool, principal) as connection:
        known = {one.limit_name: one.next_plan for one in await list_usage(connection)}
    # A channel that the plan lacks tells by itself which plan has it.
    next_plan = told.get("next_plan") or known.get(told["limit"])
    return limit_error(LimitUse(told["limit"], told["used"], told["allowed"], next_plan))


def level(use: LimitUse) -> Literal["ok", "high", "critical", "reached"]:
    """How near a limit is: as the alerts are told, at 80 and 95 %."""
    if use.allowed == -1:
        return "ok"
    if use.used >= use.allowed:
        return "reached" if use.allowed or use.used else "ok"
    share = use.used * 100 / use.allowed
    return "critical" if share >= 95 else "high" if share >= 80 else "ok"


def limit_error(use: LimitUse) -> LimitReachedError:
    """The error for a limit that leaves no room: names it, its use, and the next plan if any."""
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
    """What does not fit in a plan, and by how much."""
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
    """A plan as it is sold: the same in every language."""
    return plan.capitalize()


def amount(limit_name: str, value: int) -> str:
    """A quantity of a limit, the same in every language: ``250 000``, ``20 MB``."""
    if limit_name == "max_storage_mb":
        return f"{-(-value // MEGABYTE)} MB"
    return f"{value:,}".replace(",", "\N{NO-BREAK SPACE}")
