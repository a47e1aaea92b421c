"""The proof that a mail domain belongs to a company: a TXT record, or the host's own decision."""

from __future__ import annotations

from uuid import UUID

from neurant.accounts.sso import queries
from neurant.accounts.sso.connections import normal_domain
from neurant.accounts.sso.dns import look_up, record_name, record_value
from neurant.accounts.sso.queries import DomainClaim, SsoConnection
from neurant.accounts.sso.schemas import SsoDomainOut
from neurant.api.outbound_limit import outbound_slot
from neurant.core.db.pool import Connection, Pool, command_pool, require_url
from neurant.core.db.tenancy import Trail
from neurant.core.errors import BadInputError, ConflictError, NotFoundError
from neurant.core.logs import get_logger
from neurant.core.settings import Settings

log = get_logger(__name__)


def shown_claims(found: SsoConnection) -> list[SsoDomainOut]:
    """Return the domains of a connection, each with its state and the record that proves it."""
    return [_shown(one) for one in found.claims]


def _shown(claim: dict[str, object]) -> SsoDomainOut:
    domain, token = str(claim["domain"]), str(claim["token"])
    return SsoDomainOut.model_validate(
        {
            **{name: value for name, value in claim.items() if name not in ("id", "token")},
            "state": "proven" if claim["proven_at"] else "pending",
            "record_name": record_name(domain),
            "record_value": record_value(token),
        }
    )


async def find_claim(connection: Connection, connection_id: UUID, domain: str) -> DomainClaim:
    """Return a connection's claim, as staff of its company. Raises NotFoundError, also for an
    invalid domain.
    """
    try:
        found = await queries.find_claim(connection, connection_id, normal_domain(domain))
    except BadInputError:
        found = None
    if found is None:
        raise NotFoundError("not_found")
    return found


async def check_now(
    pool: Pool,
    settings: Settings,
    company_id: UUID,
    claim: DomainClaim,
    login: UUID | None,
    trail: Trail | None,
) -> str:
    """Look for a claim's record now and store the result; no connection is held meanwhile.

    Return an outcome of ``private.note_sso_domain_check``. Raises ConflictError
    (``sso.domain_taken``: another company has proven the domain), NotFoundError, RateLimitedError
    (``api.busy_outside``).
    """
    async with outbound_slot(company_id):
        found = await look_up(settings, claim.domain, claim.token)
    outcome = await queries.note_check(pool, company_id, claim.id, found, login, trail or Trail())
    if outcome == "taken":
        raise ConflictError("sso.domain_taken", domain=claim.domain)
    if outcome == "unknown":
        raise NotFoundError("not_found")
    return outcome


async def recheck_domains(pool: Pool, settings: Settings) -> int:
    """Look for the records of proven domains that are due; return how many. ``pool`` is
    the worker's.
    """
    checked = 0
    while due := await queries.take_due_checks(pool):
        for one in due:
            found = await look_up(settings, one.domain, one.token)
            outcome = await queries.note_check(pool, one.company_id, one.id, found, None, Trail())
            if outcome in ("failing", "lost"):
                log.warning("sso_domain_" + outcome, company=str(one.company_id), domain=one.domain)
            checked += 1
    return checked


async def prove_domain(settings: Settings, slug: str, domain: str) -> None:
    """Confirm a company's claim to a domain, as the host of the installation.

    Raises NotFoundError (``sso.no_such_company``), ConflictError (``sso.domain_not_claimed``,
    ``sso.domain_taken``), BadInputError.
    """
    normal = normal_domain(domain)
    url = require_url(settings.app_database_url, "NEURANT_APP_DATABASE_URL")
    async with command_pool(url) as pool:
        outcome = await queries.prove_by_host(pool, slug, normal)
    if outcome == "unknown_company":
        raise NotFoundError("sso.no_such_company", company=slug)
    if outcome == "not_claimed":
        raise ConflictError("sso.domain_not_claimed", company=slug, domain=normal)
    if outcome == "taken":
        raise ConflictError("sso.domain_taken", domain=normal)
