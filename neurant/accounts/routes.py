"""The endpoints that sign a person in and out and move a session between companies."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Request

from neurant.accounts import service
from neurant.accounts.queries import delete_session, list_companies
from neurant.accounts.recovery.routes import router as recovery_router
from neurant.accounts.schemas import ChosenCompany, CompanyOut, Credentials, SessionOut, WhoOut
from neurant.accounts.security.routes import router as security_router
from neurant.accounts.signup.routes import router as sign_up_router
from neurant.api.route import api_router
from neurant.auth.current import ApiPerson, trail_of
from neurant.auth.people import Person
from neurant.core.services import services_of

router = APIRouter()
session = api_router("session", "/v1/session")


@session.post("", status_code=201)
async def open_api_session(request: Request, credentials: Credentials) -> SessionOut:
    """Open a session and return its bearer token.

    The session ends after 30 days, or after 7 days without use. If the login has two-step
    verification, send the same request again with ``code``.

    Refuses: 401 ``accounts.wrong_login`` if address and password do not match; 401
    ``accounts.second_factor_needed`` if the password is right and the code is missing; 401
    ``accounts.wrong_code`` if the code is wrong or was used; 401 ``sso.required`` if the company
    requires its identity provider; 429 ``accounts.slow_down`` after several wrong attempts; 429
    ``accounts.too_many_at_once`` if too many logins of one address are being checked.
    """
    opened = await service.sign_in(
        services_of(request).pool,
        services_of(request).settings,
        credentials.email,
        credentials.password,
        trail=trail_of(request),
        keep=True,
        code=credentials.code,
    )
    return SessionOut(**asdict(opened))


@session.get("")
async def read_session(request: Request, person: ApiPerson) -> WhoOut:
    """Return the person of the session and the companies in which it may continue."""
    return await _who(request, person)


@session.delete("", status_code=204)
async def close_api_session(request: Request, person: ApiPerson) -> None:
    """End the session of the bearer token or of the browser's cookie."""
    await delete_session(services_of(request).pool, person.digest, trail_of(request))


@session.post("/company")
async def choose_company(request: Request, chosen: ChosenCompany, person: ApiPerson) -> WhoOut:
    """Continue the session in another company, with the same token.

    Answers with the session as GET /v1/session does.

    Refuses: 404 ``not_found`` if the person is not an active member of the company.
    """
    pool = services_of(request).pool
    await service.choose_company(pool, person.digest, chosen.company_id, person.trail)
    return await _who(request, person)


async def _who(request: Request, person: Person) -> WhoOut:
    companies = await list_companies(services_of(request).pool, person.digest)
    known = asdict(person)
    if current := next((one for one in companies if one.is_current), None):
        known["company_id"] = current.company_id
    return WhoOut(
        **{name: known[name] for name in WhoOut.model_fields if name != "companies"},
        companies=[CompanyOut(**asdict(one)) for one in companies],
    )


router.include_router(session)
for part in (sign_up_router, recovery_router, security_router):
    router.include_router(part)
