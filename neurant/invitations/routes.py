"""Invitations over the API."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Header, Query, Request, Response

from neurant.api.call import Call, needs
from neurant.api.listing import Page
from neurant.api.route import api_router
from neurant.core.errors import NotFoundError
from neurant.core.language import reader_language
from neurant.core.services import services_of
from neurant.invitations import queries, service
from neurant.invitations.schemas import (
    AcceptedOut,
    AcceptIn,
    InvitationIn,
    InvitationOut,
    InvitationQuery,
    SeenInvitation,
    Token,
)
from neurant.invitations.service import Inviter

router = api_router("invitations")
Reading = Annotated[Call, needs("invitations.read")]
Managing = Annotated[Call, needs("invitations.manage")]


def _inviter(call: Call) -> Inviter:
    caller = call.caller
    name = f"{caller.first_name} {caller.last_name}".strip()
    return Inviter(name, caller.company_id, caller.company_name)


@router.get("/invitations")
async def list_invitations(
    call: Reading, query: Annotated[InvitationQuery, Query()]
) -> Page[InvitationOut]:
    """The invitations to roles below one's own, with what became of the newest mail."""
    data, cursor = await queries.list_invitations(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@router.post("/invitations", status_code=201)
async def create_invitation(call: Managing, new: InvitationIn, response: Response) -> InvitationOut:
    """Invite somebody by mail, for seven days. Holds a seat of the plan until then."""
    language = new.language or reader_language(call.request)
    settings = services_of(call.request).settings
    made = await service.invite(call.connection, settings, _inviter(call), new, language)
    response.headers["location"] = f"/v1/invitations/{made}"
    return await _found(call, made)


# Before /invitations/{…}: the first route that fits is taken.
@router.get("/invitations/by-token")
async def get_invitation_by_token(
    request: Request,
    invitation_token: Annotated[Token, Header(description="What follows the # of the link")],
) -> SeenInvitation:
    """What a link invites to. In a header, because addresses are written into logs."""
    seen = await service.look(services_of(request).pool, invitation_token)
    return SeenInvitation.model_validate(seen, from_attributes=True)


@router.post(
    "/invitations/accept", status_code=201, openapi_extra={"security": [{}, {"bearer": []}]}
)
async def accept_invitation(request: Request, given: AcceptIn) -> AcceptedOut:
    """Become a member: signed in with the invited address, or new with a name and a password.
    A session that a company's single sign-on opened is refused (403)."""
    accepted = await service.accept_as_caller(request, given)
    return AcceptedOut.model_validate(accepted, from_attributes=True)


@router.get("/invitations/{invitation_id}")
async def get_invitation(call: Reading, invitation_id: UUID) -> InvitationOut:
    """One of them."""
    return await _found(call, invitation_id)


@router.post("/invitations/{invitation_id}/renew")
async def renew_invitation(call: Managing, invitation_id: UUID) -> InvitationOut:
    """A new link for seven more days, by mail; the old one ends. Five times a day at most."""
    settings = services_of(call.request).settings
    await service.renew(call.connection, settings, _inviter(call), invitation_id)
    return await _found(call, invitation_id)


@router.post("/invitations/{invitation_id}/cancel")
async def cancel_invitation(call: Managing, invitation_id: UUID) -> InvitationOut:
    """Take it back: the link ends and the seat is free."""
    await service.cancel(call.connection, invitation_id)
    return await _found(call, invitation_id)


async def _found(call: Call, invitation_id: UUID) -> InvitationOut:
    found = await queries.get_invitation(call.connection, invitation_id)
    if found is None:
        raise NotFoundError("not_found")
    return found
