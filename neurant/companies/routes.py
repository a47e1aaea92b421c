"""A company's profile, founding and set-up over the API."""

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
    """What a company may say that it does; for everybody, in the order to offer them."""
    async with services_of(request).pool.connection() as connection:
        return [IndustryOut(**one) for one in await service.industry_names(connection)]


@router.get("/companies/slug-suggestions")
async def suggest_slugs(request: Request, name: Annotated[CompanyName, Query()]) -> SlugSuggestions:
    """A short name for a company, whether it is free, and up to three that are. 30 a minute."""
    return await service.suggest(services_of(request).pool, name, trail_of(request))


@router.post("/companies", status_code=201)
async def found_company(
    request: Request, new: CompanyIn, founder: Annotated[Founder, Depends(founder_of)]
) -> FoundedOut:
    """Found a company on the free plan; the caller, whose e-mail is verified, is its owner. The
    session goes on in it. A session that a company's single sign-on opened is refused (403)."""
    made = await service.found(services_of(request).pool, founder, new)
    await enter(request, founder, made.id)
    return made


@router.get("/company")
async def get_company(call: Reading, response: Response) -> CompanyOut:
    """The profile of the caller's company."""
    found = await queries.get_company(call.connection)
    if found is None:
        raise ForbiddenError("api.not_permitted", permission="company.read")
    tagged(response, found, CompanyPatch)
    return found


@router.patch("/company")
async def change_company(call: Editing, patch: CompanyPatch, response: Response) -> CompanyOut:
    """Change what is given; with If-Match only if nobody changed it meanwhile."""
    current = await queries.get_company(call.connection, locked=True)
    if current is None:
        raise ForbiddenError("api.not_permitted", permission="company.edit")
    check_match(call.request, current, CompanyPatch)
    await service.change(call.connection, patch)
    return await get_company(call, response)


@router.get("/onboarding")
async def get_onboarding(call: Reading) -> OnboardingOut:
    """How far the set-up is."""
    return await service.onboarding(call.connection)


@router.post("/onboarding", status_code=200)
async def pass_step(call: Editing, done: OnboardingIn) -> OnboardingOut:
    """Note a step that leaves no trace: the plan was seen, the bot comes later, hide the list."""
    await queries.pass_step(call.connection, done.step)
    return await service.onboarding(call.connection)
