"""The endpoints for a company's connections to identity providers; API keys cannot use them."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Path, Query, Request, Response

from neurant.accounts.sso import connections, domains, queries
from neurant.accounts.sso.domains import shown_claims
from neurant.accounts.sso.provider import Providers
from neurant.accounts.sso.queries import SsoConnection
from neurant.accounts.sso.schemas import (
    SsoChecksOut,
    SsoConnectionNew,
    SsoConnectionOut,
    SsoConnectionPatch,
    SsoConnectionQuery,
    SsoDomainOut,
    SsoPersonOut,
)
from neurant.accounts.sso.service import callback_url
from neurant.api.call import Call, needs
from neurant.api.etag import check_match, tagged
from neurant.api.listing import ListQuery, Page
from neurant.api.outbound_limit import outbound_slot
from neurant.api.route import api_router
from neurant.auth.current import trail_of
from neurant.core.errors import NotFoundError
from neurant.core.services import services_of
from neurant.texts import preferred_language

router = api_router("single sign-on")
Reading = Annotated[Call, needs("sso.read")]
Managing = Annotated[Call, needs("sso.manage")]
DomainName = Annotated[
    str, Path(min_length=1, max_length=253, description="Mail domain that the connection claims")
]


def shown(request: Request, company_id: UUID, found: SsoConnection) -> SsoConnectionOut:
    """Return a connection with the redirect address to register at its provider."""
    return SsoConnectionOut(
        **{
            name: getattr(found, name)
            for name in SsoConnection.__dataclass_fields__
            if name != "claims"
        },
        domain_proofs=shown_claims(found),
        redirect_uri=callback_url(services_of(request).settings, company_id),
    )


@router.get("/sso-connections")
async def list_sso_connections(
    call: Reading, query: Annotated[SsoConnectionQuery, Query()]
) -> Page[SsoConnectionOut]:
    """List the company's connections to identity providers."""
    found, cursor = await queries.list_connections(call.connection, query)
    return Page(data=[_shown(call, one) for one in found], next_cursor=cursor)


@router.post("/sso-connections", status_code=201)
async def create_sso_connection(
    call: Managing, new: SsoConnectionNew, response: Response
) -> SsoConnectionOut:
    """Connect the company to an identity provider.

    A domain takes effect once it is proven: publish the TXT record that ``domain_proofs`` shows and
    request a check. Register ``redirect_uri`` at the provider. Answers 201 with the connection and
    its ``Location``.

    Refuses: 409 ``sso.connection_exists`` if there is a connection with this issuer and client id;
    409 ``sso.domain_taken``, ``sso.domain_public`` or ``sso.too_many_domains`` if a domain cannot
    be claimed; 422 ``sso.provider_insecure`` or ``sso.bad_domain`` if the issuer or a domain is not
    acceptable.
    """
    made = await connections.create(
        call.connection, services_of(call.request).settings, call.caller.company_id, new
    )
    response.headers["location"] = f"/v1/sso-connections/{made.id}"
    return _tagged(call, response, made)


@router.get("/sso-connections/{connection_id}")
async def get_sso_connection(
    call: Reading, connection_id: UUID, response: Response
) -> SsoConnectionOut:
    """Return one connection to an identity provider."""
    return _tagged(call, response, await connections.read(call.connection, connection_id))


@router.patch("/sso-connections/{connection_id}")
async def change_sso_connection(
    call: Managing, connection_id: UUID, patch: SsoConnectionPatch, response: Response
) -> SsoConnectionOut:
    """Change the given fields of a connection to an identity provider.

    Sessions that the changed connection would no longer allow end.

    Refuses: 409 ``sso.connection_exists`` if there is a connection with this issuer and client id;
    409 ``sso.domain_taken``, ``sso.domain_public`` or ``sso.too_many_domains`` if a domain cannot
    be claimed; 422 ``sso.bad_domain`` if a domain is not acceptable.
    """
    current = await connections.read(call.connection, connection_id, locked=True)
    check_match(call.request, _shown(call, current), SsoConnectionPatch)
    changed = await connections.change(
        call.connection,
        services_of(call.request).settings,
        call.caller.company_id,
        connection_id,
        patch,
    )
    return _tagged(call, response, changed)


@router.delete("/sso-connections/{connection_id}", status_code=204)
async def delete_sso_connection(call: Managing, connection_id: UUID) -> None:
    """Delete a connection to an identity provider.

    The sessions that it opened end; its people stay in the team.
    """
    await connections.remove(call.connection, connection_id)


@router.post("/sso-connections/{connection_id}/check")
async def check_sso_connection(call: Managing, connection_id: UUID) -> SsoChecksOut:
    """Test a connection: fetch the provider's description and keys.

    Answers 200 with the result of each step, also if a step failed. ``detail`` is in the language
    of Accept-Language.

    Refuses: 429 ``api.busy_outside`` if other requests of the company to other servers are running;
    503 ``sso.check_busy`` if two tests are running.
    """
    found = await connections.read(call.connection, connection_id)
    language = preferred_language(call.request.headers.get("accept-language"))
    async with call.without_connection(), outbound_slot(call.caller.company_id):
        checks = await connections.check_connection(
            services_of(call.request).get(Providers), found.issuer, language
        )
    return SsoChecksOut(is_ok=all(one.is_ok for one in checks), checks=checks)


@router.post("/sso-connections/{connection_id}/domains/{domain}/check")
async def check_sso_domain(call: Managing, connection_id: UUID, domain: DomainName) -> SsoDomainOut:
    """Look for the TXT record of a domain in the DNS now.

    The domain is proven if the record is found. A proven domain whose record is absent becomes
    pending again after three days.

    Refuses: 409 ``sso.domain_taken`` if another company has proven the domain; 429
    ``api.busy_outside`` if other requests of the company to other servers are running.
    """
    state, caller = services_of(call.request), call.caller
    claim = await domains.find_claim(call.connection, connection_id, domain)
    trail = trail_of(call.request, str(caller.session_id) if caller.session_id else None)
    async with call.without_connection():
        await domains.check_now(
            state.pool, state.settings, caller.company_id, claim, caller.auth_user_id, trail
        )
    found = await connections.read(call.connection, connection_id)
    shown_now = {one.domain: one for one in domains.shown_claims(found)}
    if claim.domain not in shown_now:
        raise NotFoundError("not_found")
    return shown_now[claim.domain]


@router.get("/sso-connections/{connection_id}/people")
async def list_sso_people(
    call: Reading, connection_id: UUID, query: Annotated[ListQuery, Query()]
) -> Page[SsoPersonOut]:
    """List the people who have signed in with a connection."""
    await connections.read(call.connection, connection_id)
    found, cursor = await queries.list_people(call.connection, connection_id, query)
    return Page(data=found, next_cursor=cursor)


@router.delete("/sso-connections/{connection_id}/people/{user_id}", status_code=204)
async def unlink_sso_person(call: Managing, connection_id: UUID, user_id: UUID) -> None:
    """Delete a person's link to the identity provider.

    The sessions of the person by this provider end. The next sign-in with the same e-mail address
    makes a new link.
    """
    await connections.unlink(call.connection, connection_id, user_id)


def _shown(call: Call, found: SsoConnection) -> SsoConnectionOut:
    return shown(call.request, call.caller.company_id, found)


def _tagged(call: Call, response: Response, found: SsoConnection) -> SsoConnectionOut:
    told = _shown(call, found)
    tagged(response, told, SsoConnectionPatch)
    return told
