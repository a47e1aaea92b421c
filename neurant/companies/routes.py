"""The endpoints for a company's profile, creation and set-up."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request, Response

from neurant.api.call import Call, needs
from neurant.api.etag import check_match, tagged
from neurant.api.route import api_router
from neurant.auth.current import trail_of
from neurant.companies import queries, service
from neurant.companies.founder import enter, founder_of
from neurant.companies.schemas import (
    CompanyIn,
    CompanyName,
    CompanyOut,
    CompanyPatch,
    FoundedOut,
    IndustryOut,
    OnboardingIn,
    OnboardingOut,
    SlugSuggestions,
)
from neurant.companies.service import Founder
from neurant.core.errors import ForbiddenError
from neurant.core.services import services_of

router = api_router("company")
Reading = Annotated[Call, needs("company.read")]
Editing = Annotated[Call, needs("company.edit")]


@router.get("/industries")
async def list_industries(request: Request) -> list[IndustryOut]:
    """List the industries that a company can choose, in the order to offer them."""
    async with services_of(request).pool.connection() as connection:
        return [IndustryOut(**one) for one in await service.industry_names(connection)]


@router.get("/companies/slug-suggestions")
async def suggest_slugs(
    request: Request,
    name: Annotated[CompanyName, Query(description="Name of the company to create")],
) -> SlugSuggestions:
    """Suggest short names for a company.

    Answers with the short name that the name makes, whether it is free, and up to three free
    alternatives.

    Refuses: 429 ``companies.too_many_checks`` after 30 requests a minute from one address.
    """
    return await service.suggest(services_of(request).pool, name, trail_of(request))


@router.post("/companies", status_code=201)
async def found_company(
    request: Request, new: CompanyIn, founder: Annotated[Founder, Depends(founder_of)]
) -> FoundedOut:
    """Create a company with the caller as its owner, on the installation's plan for new companies.

    The session continues in the new company. Answers 201 with its id and short name.

    Refuses: 403 ``companies.unverified`` or ``accounts.limited_session`` if the e-mail address is
    not verified or a company's single sign-on opened the session; 409 ``company_slug_taken`` or
    ``companies.unknown_industry`` if the short name is taken or the industry is unknown; 429
    ``companies.too_many_founded`` after five companies an hour from one address.
    """
    services = services_of(request)
    made = await service.found(services.pool, founder, new, services.settings.new_company_plan)
    await enter(request, founder, made.id)
    return made


@router.get("/company")
async def get_company(call: Reading, response: Response) -> CompanyOut:
    """Return the profile of the caller's company."""
    found = await queries.get_company(call.connection)
    if found is None:
        raise ForbiddenError("api.not_permitted", permission="company.read")
    tagged(response, found, CompanyPatch)
    return found


@router.patch("/company")
async def change_company(call: Editing, patch: CompanyPatch, response: Response) -> CompanyOut:
    """Change the given fields of the company's profile.

    A field that is left out keeps its value.

    Refuses: 409 ``companies.unknown_industry`` if the industry is unknown.
    """
    current = await queries.get_company(call.connection, locked=True)
    if current is None:
        raise ForbiddenError("api.not_permitted", permission="company.edit")
    check_match(call.request, current, CompanyPatch)
    await service.change(call.connection, patch)
    return await get_company(call, response)


@router.get("/onboarding")
async def get_onboarding(call: Reading) -> OnboardingOut:
    """Return how far the set-up of the company is."""
    return await service.onboarding(call.connection)


@router.post("/onboarding", status_code=200)
async def pass_step(call: Editing, done: OnboardingIn) -> OnboardingOut:
    """Record a step of the set-up that leaves no other trace.

    The steps are: the plan was seen, the bot is created later, documents are added later, the
    checklist is hidden.
    """
    await queries.pass_step(call.connection, done.step)
    return await service.onboarding(call.connection)
