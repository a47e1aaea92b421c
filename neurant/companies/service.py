"""The creation of a company, and the next step of its set-up."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from uuid import UUID

import psycopg

from neurant.auth.limited_sessions import limits_told
from neurant.companies import queries
from neurant.companies.schemas import (
    CompanyIn,
    CompanyPatch,
    FoundedOut,
    OnboardingOut,
    SlugSuggestions,
    Step,
)
from neurant.core.db.pool import Connection, Pool
from neurant.core.db.tenancy import Trail, come_from
from neurant.core.errors import ConflictError, ForbiddenError, RateLimitedError
from neurant.plans.limits import documents_limit, list_usage
from neurant.texts import LANGUAGES, Language, text

_HOUR = 3600
# Public mail providers, whose domain does not name the company.
PUBLIC_PROVIDERS = frozenset(
    (
        "gmail",
        "googlemail",
        "hotmail",
        "outlook",
        "live",
        "msn",
        "yahoo",
        "ymail",
        "icloud",
        "me",
        "mac",
        "aol",
        "proton",
        "protonmail",
        "gmx",
        "zoho",
        "terra",
        "uol",
        "bol",
        "mail",
        "yandex",
        "fastmail",
        "hey",
        "tutanota",
        "une",
        "etb",
        "prodigy",
    )
)
_SECOND_LEVEL = ("com", "net", "org", "edu", "gob", "gov", "co", "ac")


@dataclass(frozen=True, slots=True)
class Founder:
    """The person who creates a company: a login whose e-mail is verified."""

    auth_user_id: UUID
    email: str
    first_name: str
    last_name: str
    session_digest: bytes
    trail: Trail


def name_from_email(email: str) -> str:
    """Guess the company's name from the mail domain; return "" for a public provider.

    ``ana@ferreteria-el-roble.com.mx`` becomes «Ferreteria El Roble».
    """
    labels = email.rpartition("@")[2].lower().split(".")
    if len(labels) > 1:
        labels.pop()
    if len(labels) > 1 and labels[-1] in _SECOND_LEVEL:
        labels.pop()
    domain = labels[-1]
    if domain in PUBLIC_PROVIDERS or domain.startswith("xn--"):
        return ""
    return " ".join(word.capitalize() for word in domain.split("-") if word)


def plain_address(trail: Trail) -> str | None:
    """Return the caller's IP address; None if there is none (a local socket, a test)."""
    try:
        return str(ip_address(trail.ip or ""))
    except ValueError:
        return None


async def suggest(pool: Pool, name: str, trail: Trail) -> SlugSuggestions:
    """Suggest short names for a company. Raises RateLimitedError."""
    async with pool.connection() as connection:
        try:
            return await queries.suggest_slugs(connection, name, plain_address(trail))
        except psycopg.Error as error:
            if error.sqlstate != "NA005":
                raise
            raise RateLimitedError("companies.too_many_checks", seconds=60) from None


async def found(pool: Pool, founder: Founder, new: CompanyIn, plan: str) -> FoundedOut:
    """Create a company in one transaction, on the host's ``plan`` for new companies.

    Raises ConflictError (the short name is taken, the industry is unknown), ForbiddenError (the
    e-mail is not verified, or the session is limited to one company), RateLimitedError (more than
    five an hour from one address).
    """
    parameters = (
        founder.session_digest,
        founder.first_name,
        founder.last_name,
        new.name.strip(),
        new.slug,
        new.industry,
        new.size,
        new.website,
        new.phone,
        new.timezone,
        plain_address(founder.trail),
        plan,
    )
    async with pool.connection() as connection, connection.transaction():
        await come_from(connection, founder.trail)
        try:
            with limits_told():
                done = await queries.found_company(connection, parameters)
        except psycopg.errors.ForeignKeyViolation:
            raise ConflictError("companies.unknown_industry") from None
    if done.outcome == "slug_taken":
        raise ConflictError("company_slug_taken", slug=new.slug)
    if done.outcome == "too_many":
        raise RateLimitedError("companies.too_many_founded", seconds=_HOUR)
    if done.company_id is None or done.slug is None:
        raise ForbiddenError("companies.unverified")
    return FoundedOut(id=done.company_id, slug=done.slug)


async def change(connection: Connection, patch: CompanyPatch) -> None:
    """Change the given fields of the profile. Raises ConflictError (the industry is unknown)."""
    changes = patch.model_dump(exclude_unset=True)
    if "email" in changes:
        changes["email"] = changes["email"].strip().lower()
    if not changes:
        return
    try:
        await queries.update_company(connection, changes)
    except psycopg.errors.ForeignKeyViolation:
        raise ConflictError("companies.unknown_industry") from None


async def industry_names(connection: Connection) -> list[dict[str, str]]:
    """Return the industries with their name in each language."""
    return [
        {"industry": one}
        | {language: text(f"industries.{one}", language) for language in LANGUAGES}
        for one in await queries.list_industries(connection)
    ]


def industry_name(industry: str, language: Language) -> str:
    """Return the name of an industry in ``language``."""
    return text(f"industries.{industry}", language)


def _next_step(known: queries.SetUp, *, may_have_documents: bool) -> Step | None:
    if (
        known.has_bot and known.has_tested
    ):  # also true for companies that are older than these steps
        return None
    if not known.plan_seen:
        return "plan"
    if not known.has_bot:
        return None if known.bot_skipped else "bot"
    if may_have_documents and not (known.has_document or known.documents_skipped):
        return "documents"
    return "test"


async def onboarding(connection: Connection) -> OnboardingOut:
    """Return the state of the set-up of the caller's company, derived from the existing data."""
    known = await queries.get_set_up(connection)
    if known is None:
        raise ForbiddenError("api.not_permitted", permission="company.read")
    checked = [known.has_bot, known.has_channel, known.has_team, known.has_tested]
    may_have_documents = not documents_limit(await list_usage(connection), "es")
    if known.has_document or may_have_documents:
        checked.append(known.has_document)
    return OnboardingOut(
        next_step=_next_step(known, may_have_documents=may_have_documents),
        has_bot=known.has_bot,
        has_channel=known.has_channel,
        has_document=known.has_document,
        has_team=known.has_team,
        has_tested=known.has_tested,
        done=sum(checked),
        total=len(checked),
        is_hidden=known.is_hidden or all(checked),
    )
