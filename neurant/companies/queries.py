"""Queries for a company's profile, its set-up, and its creation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, LiteralString
from uuid import UUID

from neurant.companies.schemas import CompanyOut, SlugSuggestions
from neurant.core.db.pool import Connection, fetch_all, fetch_one, fetch_value, set_clause

_PROFILE = """
select c.id, c.name, c.slug, c.email, c.phone, c.industry, c.size, c.website, c.logo_url,
  c.timezone, c.visitor_conversations_per_hour,
  p.visitor_conversations_per_hour as plan_visitor_conversations_per_hour,
  c.subscription_plan::text, c.subscription_status::text, c.created_at, c.updated_at
from public.companies c
join public.plans p on p.plan = c.subscription_plan
where c.id = (select private.company_id('company.read'))
"""
_LOCKED = _PROFILE + "for no key update of c"
_UPDATE = "update public.companies set "
_EDITABLE: tuple[LiteralString, ...] = (
    "name",
    "email",
    "phone",
    "industry",
    "size",
    "website",
    "logo_url",
    "timezone",
    "visitor_conversations_per_hour",
)
_INDUSTRIES = "select industry from private.list_industries()"
_SUGGEST = "select slug, is_free, alternatives from private.suggest_slugs(%s, %s)"
_FOUND = """
select outcome, company_id, slug
from private.found_company_by_session(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,
  p_plan => %s::public.subscription_plan_enum)
"""
_STATE = """
select has_bot, has_channel, has_document, has_team, has_tested, plan_seen, bot_skipped,
  documents_skipped, is_hidden
from private.onboarding_state()
"""


@dataclass(frozen=True, slots=True)
class Founded:
    """The outcome of a creation: created, slug_taken, unverified, unknown_login or too_many."""

    outcome: Literal["created", "slug_taken", "unverified", "unknown_login", "too_many"]
    company_id: UUID | None
    slug: str | None


@dataclass(frozen=True, slots=True)
class SetUp:
    """The parts that a company has, and the steps of the set-up that are done."""

    has_bot: bool
    has_channel: bool
    has_document: bool
    has_team: bool
    has_tested: bool
    plan_seen: bool
    bot_skipped: bool
    documents_skipped: bool
    is_hidden: bool


@dataclass(frozen=True, slots=True)
class _Industry:
    industry: str


async def get_company(connection: Connection, *, locked: bool = False) -> CompanyOut | None:
    """Return the caller's company; ``locked`` locks its row."""
    return await fetch_one(connection, CompanyOut, _LOCKED if locked else _PROFILE)


async def update_company(connection: Connection, changes: Mapping[str, Any]) -> bool:
    """Change the given fields of the profile; return False if the caller may not."""
    statement = (
        _UPDATE
        + set_clause(_EDITABLE, changes)
        + " where id = (select private.company_id('company.edit'))"
    )
    return (await connection.execute(statement, changes)).rowcount == 1


async def list_industries(connection: Connection) -> list[str]:
    """Return the industries in the order in which they are offered."""
    return [row.industry for row in await fetch_all(connection, _Industry, _INDUSTRIES)]


async def suggest_slugs(connection: Connection, name: str, address: str | None) -> SlugSuggestions:
    """Suggest short names for a company. SQLSTATE NA005: too many requests from this address."""
    found = await fetch_one(connection, SlugSuggestions, _SUGGEST, (name, address))
    assert found is not None  # noqa: S101 - the function answers with one row
    return found


async def found_company(connection: Connection, parameters: tuple[object, ...]) -> Founded:
    """Create a company; the parameters are those of ``private.found_company_by_session``."""
    done = await fetch_one(connection, Founded, _FOUND, parameters)
    assert done is not None  # noqa: S101 - the function answers with one row
    return done


async def get_set_up(connection: Connection) -> SetUp | None:
    """Return the state of the set-up of the caller's company."""
    return await fetch_one(connection, SetUp, _STATE)


async def pass_step(connection: Connection, step: str) -> bool:
    """Record a step; return False if the caller may not set up the company."""
    return await fetch_value(connection, "select private.pass_onboarding(%s)", (step,)) is True
