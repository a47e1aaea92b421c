"""The person who creates a company; this module connects the feature with sign-up."""

from __future__ import annotations

from uuid import UUID

from fastapi import Request

from neurant.accounts.service import choose_company
from neurant.auth.current import ApiPerson, page_person
from neurant.auth.people import Person
from neurant.companies.service import Founder
from neurant.core.names import reads_as_name, tidy
from neurant.core.services import services_of


async def founder_of(person: ApiPerson) -> Founder:
    """Return the person whose session the request carries. Raises UnauthenticatedError."""
    return _founder(person)


async def founder_or_login(request: Request) -> Founder:
    """Return the person whose session a page request carries. Raises SignInNeededError."""
    return _founder(await page_person(request))


async def enter(request: Request, person: Founder, company_id: UUID) -> None:
    """Continue the same session in a company that was just created."""
    pool = services_of(request).pool
    await choose_company(pool, person.session_digest, company_id, person.trail)


def _founder(person: Person) -> Founder:
    # A person who signed in with single sign-on may have no name yet.
    mailbox = tidy(person.email.partition("@")[0])
    first = person.first_name or (mailbox if reads_as_name(mailbox) else "")
    return Founder(
        person.auth_user_id,
        person.email,
        first[:100],
        (person.last_name or "")[:100],
        person.digest,
        person.trail,
    )
