"""A company's connections to identity providers over the API. The owner's; keys have no part."""

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
from neurant.api.outbound_limit import asking_outside
from neurant.api.route import api_router
from neurant.auth.current import trail_of
from neurant.core.errors import NotFoundError
from neurant.core.services import services_of
from neurant.texts import preferred_language

router = api_router("single sign-on")
Reading = Annotated[Call, needs("sso.read")]
Managing = Annotated[Call, needs("sso.manage")]
DomainName = Annotated[str, Path(min_length=1, max_length=253)]


def shown(request: Request, company_id: UUID, found: SsoConnection) -> SsoConnectionOut:
    """A connection with the address that its provider must know."""
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
    """The company's connections to identity providers."""
    found, cursor = await queries.list_connections(call.connection, query)
    return Page(data=[_shown(call, one) for one in found], next_cursor=cursor)


@router.post("/sso-connections", status_code=201)
async def create_sso_connection(
    call: Managing, new: SsoConnectionNew, response: Response
) -> SsoConnectionOut:
    """Connect a provider. A domain counts once it is proven: set the TXT record that
    ``domain_proofs`` shows and ask for a check. Register ``redirect_uri`` at the provider."""
    made = await connections.create(
        call.connection, services_of(call.request).settings, call.caller.company_id, new
    )
    response.headers["location"] = f"/v1/sso-connections/{made.id}"
    return _tagged(call, response, made)


@router.get("/sso-connections/{connection_id}")
async def get_sso_connection(
    call: Reading, connection_id: UUID, response: Response
) -> SsoConnectionOut:
    """One of them."""
    return _tagged(call, response, await connections.read(call.connection, connection_id))


@router.patch("/sso-connections/{connection_id}")
async def change_sso_connection(
    call: Managing, connection_id: UUID, patch: SsoConnectionPatch, response: Response
) -> SsoConnectionOut:
    """Change what is given; with If-Match only if nobody changed it meanwhile. Who could not come
    in this way any more is signed out."""
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
    """Remove it; who came in by it is signed out, and stays in the team."""
    await connections.remove(call.connection, connection_id)


@router.post("/sso-connections/{connection_id}/check")
async def check_sso_connection(call: Managing, connection_id: UUID) -> SsoChecksOut:
    """Ask the provider to describe itself and for its keys, and tell what is wrong."""
    found = await connections.read(call.connection, connection_id)
    language = preferred_language(call.request.headers.get("accept-language"))
    async with call.outside(), asking_outside(call.caller.company_id):
        checks = await connections.check(
            services_of(call.request).get(Providers), found.issuer, language
        )
    return SsoChecksOut(is_ok=all(one.is_ok for one in checks), checks=checks)


@router.post("/sso-connections/{connection_id}/domains/{domain}/check")
async def check_sso_domain(call: Managing, connection_id: UUID, domain: DomainName) -> SsoDomainOut:
    """Look for the domain's TXT record in the DNS now. The domain is proven where it is found;
    refused (409) where another company has proven the same domain. A proven domain whose record is
    absent is pending again after three days."""
    state, caller = services_of(call.request), call.caller
    claim = await domains.find_claim(call.connection, connection_id, domain)
    trail = trail_of(call.request, str(caller.session_id) if caller.session_id else None)
    async with call.outside():
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
    """Who has come in by it."""
    await connections.read(call.connection, connection_id)
    found, cursor = await queries.list_people(call.connection, connection_id, query)
    return Page(data=found, next_cursor=cursor)


@router.delete("/sso-connections/{connection_id}/people/{user_id}", status_code=204)
async def unlink_sso_person(call: Managing, connection_id: UUID, user_id: UUID) -> None:
    """Forget who a user is to the provider, and sign them out; their address can be linked anew."""
    await connections.unlink(call.connection, connection_id, user_id)


def _shown(call: Call, found: SsoConnection) -> SsoConnectionOut:
    return shown(call.request, call.caller.company_id, found)


def _tagged(call: Call, response: Response, found: SsoConnection) -> SsoConnectionOut:
    told = _shown(call, found)
    tagged(response, told, SsoConnectionPatch)
    return told
