"""The endpoints for invitations."""

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
    """List the invitations to roles below that of the caller.

    Each has the state of its newest mail.
    """
    data, cursor = await queries.list_invitations(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@router.post("/invitations", status_code=201)
async def create_invitation(call: Managing, new: InvitationIn, response: Response) -> InvitationOut:
    """Invite a person by mail.

    The invitation is valid for seven days and holds a seat of the plan. Answers 201 with the
    invitation and its ``Location``.

    Refuses: 403 ``invitations.role_not_below`` if the role is not below that of the caller; 409
    ``invitations.already_member``, ``invitations.deactivated``, ``invitations.already_invited`` or
    ``invitations.refused`` if the address cannot be invited; 409 ``limit.next.max_users`` or
    ``limit.last.max_users`` if the plan has no seat left; 422 ``accounts.bad_email`` if the text is
    no e-mail address; 429 ``invitations.too_many_by_address`` or
    ``invitations.too_many_by_company`` if too many invitations were sent.
    """
    language = new.language or reader_language(call.request)
    settings = services_of(call.request).settings
    made = await service.invite(call.connection, settings, _inviter(call), new, language)
    response.headers["location"] = f"/v1/invitations/{made}"
    return await _found(call, made)


# This route precedes /invitations/{…}, because the first route that matches is used.
@router.get("/invitations/by-token")
async def get_invitation_by_token(
    request: Request,
    invitation_token: Annotated[Token, Header(description="Part of the mailed link after #")],
) -> SeenInvitation:
    """Return the invitation of a mailed link.

    The token is sent in a header, because addresses are written to logs.

    Refuses: 404 ``invitations.unknown`` if the link is unknown or was replaced by a newer one; 410
    ``invitations.expired``, ``invitations.cancelled`` or ``invitations.accepted_before`` if the
    invitation is no longer open.
    """
    seen = await service.look(services_of(request).pool, invitation_token)
    return SeenInvitation.model_validate(seen, from_attributes=True)


@router.post(
    "/invitations/accept", status_code=201, openapi_extra={"security": [{}, {"bearer": []}]}
)
async def accept_invitation(request: Request, given: AcceptIn) -> AcceptedOut:
    """Accept an invitation and become a member of the company.

    A person with a session accepts with the invited address; a new person gives a name and a
    password. Answers 201 with the membership.

    Refuses: 401 ``invitations.sign_in_first`` if the address has an account and no session is sent;
    403 ``invitations.other_address`` or ``accounts.limited_session`` if the session is for another
    address or was opened by a company's single sign-on; 404 ``invitations.unknown`` if the link is
    unknown or was replaced; 409 ``invitations.member_already`` or ``invitations.no_seat`` if the
    person is a member or the plan has no seat left; 410 ``invitations.expired``,
    ``invitations.cancelled`` or ``invitations.accepted_before`` if the invitation is no longer
    open; 422 ``invitations.name_and_password``, ``accounts.weak_password``,
    ``accounts.leaked_password`` or ``accounts.terms_not_accepted`` if a new person's data is
    missing or not acceptable; 422 ``accounts.password_characters``, ``accounts.password_emoji``,
    ``accounts.password_new_character`` or ``accounts.password_symbol`` if the password contains a
    character that passwords cannot contain.
    """
    accepted = await service.accept_as_caller(request, given)
    return AcceptedOut.model_validate(accepted, from_attributes=True)


@router.get("/invitations/{invitation_id}")
async def get_invitation(call: Reading, invitation_id: UUID) -> InvitationOut:
    """Return one invitation."""
    return await _found(call, invitation_id)


@router.post("/invitations/{invitation_id}/renew")
async def renew_invitation(call: Managing, invitation_id: UUID) -> InvitationOut:
    """Send a new link that is valid for seven more days.

    The old link is no longer valid. An invitation can be sent five times a day.

    Refuses: 403 ``invitations.role_not_below`` if the role is not below that of the caller; 409
    ``invitations.closed`` or ``invitations.refused`` if the invitation is no longer open or the
    person refuses invitations; 429 ``invitations.too_many``, ``invitations.too_many_by_address`` or
    ``invitations.too_many_by_company`` if too many were sent.
    """
    settings = services_of(call.request).settings
    await service.renew(call.connection, settings, _inviter(call), invitation_id)
    return await _found(call, invitation_id)


@router.post("/invitations/{invitation_id}/cancel")
async def cancel_invitation(call: Managing, invitation_id: UUID) -> InvitationOut:
    """Cancel a pending invitation.

    Its link is no longer valid and its seat is free.

    Refuses: 403 ``invitations.role_not_below`` if the role is not below that of the caller; 409
    ``invitations.closed`` if the invitation is no longer open.
    """
    await service.cancel(call.connection, invitation_id)
    return await _found(call, invitation_id)


async def _found(call: Call, invitation_id: UUID) -> InvitationOut:
    found = await queries.get_invitation(call.connection, invitation_id)
    if found is None:
        raise NotFoundError("not_found")
    return found
