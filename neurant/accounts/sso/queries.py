"""Queries for signing in with a provider (before the caller is known), and for a
company's connections.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, LiteralString
from uuid import UUID

from neurant.accounts.sso.schemas import SsoConnectionQuery, SsoPersonOut
from neurant.api.listing import Listing, ListQuery, Sort, fetch_page
from neurant.core.db.pool import Connection, Pool, fetch_all, fetch_one, fetch_value, set_clause
from neurant.core.db.tenancy import Trail, come_from

_OFFER = "select name, is_enforced from private.sso_of_domain(%s)"
_BEGIN = """
select company_id, connection_id, name, issuer, client_id
from private.begin_sso(%s, %s, %s, %s, %s)
"""
_CLAIM = """
select outcome, attempt_id, company_id, connection_id, name, issuer, client_id,
  client_secret_encrypted, wrapped_key, next_path, is_kept
from private.claim_sso(%s, %s)
"""
_FINISH = """
select outcome, company_id, user_id, expires_at
from private.finish_sso(%s, %s, %s, %s, %s, %s, %s, %s, %s::inet, %s, %s)
"""
_COLUMNS = """
select c.id, c.name, c.issuer, c.client_id, c.default_role::text, c.is_enforced, c.is_active,
  c.created_at, c.updated_at,
  array(select d.domain::text from public.sso_domains d
    where d.company_id = c.company_id and d.connection_id = c.id order by d.domain) as domains,
  coalesce((
    select jsonb_agg(jsonb_build_object('id', d.id, 'domain', d.domain, 'token', d.token,
      'proven_by', d.proven_by, 'proven_at', d.proven_at, 'checked_at', d.checked_at,
      'last_check', d.last_check, 'failing_since', d.failing_since) order by d.domain)
    from public.sso_domains d
    where d.company_id = c.company_id and d.connection_id = c.id), '[]') as claims,
  (select count(*) from public.external_identities i
    where i.company_id = c.company_id and i.connection_id = c.id) as people
from public.sso_connections c
"""
_LISTING = Listing(
    select=_COLUMNS.strip(),
    sorts={"created_at": Sort("c.created_at", "timestamptz", "created_at")},
    id="c.id",
)
_PEOPLE = Listing(
    select="""
select i.id, i.user_id, i.subject, i.created_at, i.last_login_at
from public.external_identities i
""".strip(),
    sorts={"created_at": Sort("i.created_at", "timestamptz", "created_at")},
    id="i.id",
)
_ONE = _COLUMNS + "where c.id = %s"
_LOCKED = _ONE + " for update of c"
_INSERT = """
insert into public.sso_connections
  (company_id, id, name, issuer, client_id, client_secret_encrypted, default_role, is_enforced,
    is_active, created_by)
values (%s, %s, %s, %s, %s, %s, %s, %s, %s, (select private.user_id()))
"""
_EDITABLE: tuple[LiteralString, ...] = (
    *("name", "client_id", "client_secret_encrypted", "default_role"),
    *("is_enforced", "is_active"),
)
_UPDATE = "update public.sso_connections set "
_DELETE = "delete from public.sso_connections where id = %s"
_DOMAINS = "select outcome, domain from private.set_sso_domains(%s, %s)"
_CLAIM_OF = """
select d.id, d.domain::text, d.token::text, d.proven_by, d.proven_at, d.checked_at, d.last_check,
  d.failing_since
from public.sso_domains d where d.connection_id = %s and d.domain = %s
"""
_NOTE_CHECK = "select private.note_sso_domain_check(%s, %s, %s, p_actor => %s)"
_TO_CHECK = "select company_id, id, domain, token from private.sso_domains_to_check()"
_PROVE = "select private.prove_sso_domain(%s, %s)"
_UNLINK = "delete from public.external_identities where connection_id = %s and user_id = %s"


@dataclass(frozen=True, slots=True)
class Offer:
    """The provider that the login page offers for an address."""

    name: str
    is_enforced: bool


@dataclass(frozen=True, slots=True)
class Begun:
    """The provider to which a browser is sent."""

    company_id: UUID
    connection_id: UUID
    name: str
    issuer: str
    client_id: str


@dataclass(frozen=True, slots=True)
class ReturnedAttempt:
    """An attempt that came back; every field but ``outcome`` is None unless that is ``claimed``."""

    outcome: Literal["claimed", "unknown", "other_browser", "used", "expired", "closed"]
    attempt_id: UUID
    company_id: UUID
    connection_id: UUID
    name: str
    issuer: str
    client_id: str
    client_secret_encrypted: bytes | None
    wrapped_key: bytes | None
    next_path: str
    is_kept: bool


@dataclass(frozen=True, slots=True)
class Identity:
    """The person whom the provider names. ``email`` is normalized; None if the provider
    gave none.
    """

    subject: str
    email: str | None
    is_verified: bool
    first_name: str | None
    last_name: str | None


@dataclass(frozen=True, slots=True)
class SignOnOutcome:
    """The outcome of a single sign-on (``private.finish_sso``)."""

    outcome: Literal[
        "signed_in",
        "closed",
        "no_email",
        "not_verified",
        "other_domain",
        "not_invited",
        "deactivated",
        "linked_to_other",
    ]
    company_id: UUID | None
    user_id: UUID | None
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class SsoConnection:
    """A connection as its company sees it, without its secret. ``people``: the number of links."""

    id: UUID
    name: str
    issuer: str
    client_id: str
    default_role: str | None
    is_enforced: bool
    is_active: bool
    created_at: datetime
    updated_at: datetime
    domains: list[str]
    claims: list[dict[str, Any]]
    people: int


@dataclass(frozen=True, slots=True)
class DomainClaim:
    """A company's claim to a domain; it takes effect while ``proven_at`` is set."""

    id: UUID
    domain: str
    token: str
    proven_by: Literal["dns", "host"] | None
    proven_at: datetime | None
    checked_at: datetime | None
    last_check: Literal["found", "absent", "unreachable"] | None
    failing_since: datetime | None


@dataclass(frozen=True, slots=True)
class DueCheck:
    """A proven domain whose record is due for another look-up."""

    company_id: UUID
    id: UUID
    domain: str
    token: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A domain that a connection cannot claim, and the reason."""

    outcome: Literal["forbidden", "not_found", "public", "taken", "too_many"]
    domain: str | None


async def find_offer(pool: Pool, domain: str) -> Offer | None:
    """Return the provider of a domain."""
    async with pool.connection() as connection:
        return await fetch_one(connection, Offer, _OFFER, (domain,))


async def begin_attempt(
    pool: Pool, domain: str, state: bytes, browser: bytes, next_path: str, *, is_kept: bool
) -> Begun | None:
    """Record that a browser goes to the provider of a domain; return None if there is none."""
    async with pool.connection() as connection:
        return await fetch_one(
            connection, Begun, _BEGIN, (domain, state, browser, next_path, is_kept)
        )


async def claim_attempt(pool: Pool, state: bytes, browser: bytes) -> ReturnedAttempt:
    """Claim an attempt that came back; each attempt can be claimed once."""
    async with pool.connection() as connection:
        found = await fetch_one(connection, ReturnedAttempt, _CLAIM, (state, browser))
    assert found is not None  # noqa: S101 - it always answers
    return found


async def finish_attempt(
    pool: Pool,
    claimed: ReturnedAttempt,
    who: Identity,
    digest: bytes,
    life: timedelta,
    trail: Trail,
) -> SignOnOutcome:
    """Open the session of the person, or return why not. ``trail.ip`` is an address or None.

    Raises psycopg.Error (NA002) if the plan has no seat left; then nothing was changed.
    """
    async with pool.connection() as connection, connection.transaction():
        await come_from(connection, trail)
        parameters = (
            claimed.attempt_id, claimed.issuer, who.subject, who.email, who.is_verified,
            who.first_name, who.last_name, digest, trail.ip, trail.user_agent, life,
        )  # fmt: skip
        found = await fetch_one(connection, SignOnOutcome, _FINISH, parameters)
    assert found is not None  # noqa: S101 - it always answers
    return found


async def list_connections(
    connection: Connection, query: SsoConnectionQuery
) -> tuple[list[SsoConnection], str | None]:
    """Return a page of the company's connections."""
    conditions: list[LiteralString] = []
    if query.is_active is not None:
        conditions.append("c.is_active = %(is_active)s")
    return await fetch_page(
        connection,
        SsoConnection,
        _LISTING,
        query,
        query.sort,
        conditions,
        {"is_active": query.is_active},
    )


async def list_people(
    connection: Connection, connection_id: UUID, query: ListQuery
) -> tuple[list[SsoPersonOut], str | None]:
    """Return a page of the people who have signed in with a connection."""
    return await fetch_page(
        connection,
        SsoPersonOut,
        _PEOPLE,
        query,
        "created_at",
        ["i.connection_id = %(connection)s"],
        {"connection": connection_id},
    )


async def find_connection(
    connection: Connection, connection_id: UUID, *, locked: bool = False
) -> SsoConnection | None:
    """Return one of the company's connections; ``locked`` locks its row."""
    statement = _LOCKED if locked else _ONE
    return await fetch_one(connection, SsoConnection, statement, (connection_id,))


async def insert_connection(connection: Connection, values: tuple[object, ...]) -> None:
    """Insert a connection: company, id, name, issuer, client id, sealed secret, role,
    enforced, active.
    """
    await connection.execute(_INSERT, values)


async def update_connection(
    connection: Connection, connection_id: UUID, changes: Mapping[str, Any]
) -> None:
    """Change the given columns."""
    assignments = set_clause(_EDITABLE, changes)
    if assignments:
        await connection.execute(
            _UPDATE + assignments + " where id = %(id)s", {**changes, "id": connection_id}
        )


async def delete_connection(connection: Connection, connection_id: UUID) -> bool:
    """Delete a connection with its links and sessions; return False if there is none."""
    return (await connection.execute(_DELETE, (connection_id,))).rowcount == 1


async def set_domains(
    connection: Connection, connection_id: UUID, domains: list[str]
) -> list[Refused]:
    """Replace the domains of a connection; return the refused ones. Roll back if there are any."""
    return await fetch_all(connection, Refused, _DOMAINS, (connection_id, domains))


async def find_claim(
    connection: Connection, connection_id: UUID, domain: str
) -> DomainClaim | None:
    """Return the claim of one of the company's connections to a domain."""
    return await fetch_one(connection, DomainClaim, _CLAIM_OF, (connection_id, domain))


async def note_check(
    pool: Pool, company_id: UUID, claim_id: UUID, found: str, login: UUID | None, trail: Trail
) -> str:
    """Store the result of a DNS look-up; return the outcome. ``login``: the person who asked."""
    async with pool.connection() as connection, connection.transaction():
        await come_from(connection, trail)
        parameters = (company_id, claim_id, found, login)
        return str(await fetch_value(connection, _NOTE_CHECK, parameters))


async def take_due_checks(pool: Pool) -> list[DueCheck]:
    """Claim proven domains that are due for a look-up, for one hour. ``pool`` uses the
    worker's login.
    """
    async with pool.connection() as connection:
        return await fetch_all(connection, DueCheck, _TO_CHECK)


async def prove_by_host(pool: Pool, slug: str, domain: str) -> str:
    """Confirm a company's claim: return ``proven``, or the reason why not."""
    async with pool.connection() as connection:
        return str(await fetch_value(connection, _PROVE, (slug, domain)))


async def delete_identity(connection: Connection, connection_id: UUID, user_id: UUID) -> bool:
    """Delete a user's link to the provider; return False if there is none."""
    return (await connection.execute(_UNLINK, (connection_id, user_id))).rowcount == 1
