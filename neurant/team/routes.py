"""People over the API."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from neurant.accounts.reauthentication import Somebody, prove
from neurant.api.call import Call, needs
from neurant.api.etag import check_match, tagged
from neurant.api.listing import Page
from neurant.api.route import api_router
from neurant.auth.codes import digest
from neurant.auth.current import token_of, trail_of
from neurant.auth.sessions import find_person
from neurant.core.errors import ForbiddenError, NotFoundError
from neurant.core.language import reader_language
from neurant.core.services import services_of
from neurant.team import queries, service
from neurant.team.schemas import (
    DeniedIn,
    OwnershipIn,
    RoleIn,
    TeamOut,
    UserOut,
    UserPatch,
    UserQuery,
)
from neurant.team.service import Owner

router = api_router("team")
Reading = Annotated[Call, needs("users.read")]
Managing = Annotated[Call, needs("users.manage")]


@router.get("/users")
async def list_users(call: Reading, query: Annotated[UserQuery, Query()]) -> Page[UserOut]:
    """Everybody; for a supervisor, supervisors and operadores; for an operador, themselves."""
    data, cursor = await queries.list_users(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@router.get("/users/{user_id}")
async def get_user(call: Reading, user_id: UUID, response: Response) -> UserOut:
    """One of them."""
    found = await _found(call, user_id)
    tagged(response, found, UserPatch)
    return found


@router.patch("/users/{user_id}")
async def change_user(
    call: Annotated[Call, needs("profile.edit")],
    user_id: UUID,
    patch: UserPatch,
    response: Response,
) -> UserOut:
    """Change one's own profile; with If-Match only if it is as it was read."""
    if not await queries.lock_user(call.connection, user_id):
        await _found(call, user_id)  # who may be seen may not be changed: 403
        raise ForbiddenError("api.not_permitted", permission="profile.edit")
    check_match(call.request, await _found(call, user_id), UserPatch)
    changes = patch.model_dump(exclude_unset=True)
    if changes:
        await queries.update_user(call.connection, user_id, changes)
    return await get_user(call, user_id, response)


@router.post("/users/{user_id}/role")
async def change_role(call: Managing, user_id: UUID, given: RoleIn) -> UserOut:
    """Give somebody below oneself another role below one's own.

    What the new role cannot hold ends: an operador's bots, the bots that a supervisor is in
    charge of.
    """
    return await service.change_role(call.connection, user_id, given.role)


@router.post("/users/{user_id}/deactivate")
async def deactivate_user(call: Managing, user_id: UUID) -> UserOut:
    """Let somebody out at once: sessions end, talks go back to the queue, a seat is free."""
    return await service.change_active(call.connection, user_id, is_active=False)


@router.post("/users/{user_id}/activate")
async def activate_user(call: Managing, user_id: UUID) -> UserOut:
    """Let somebody in again, as they were; takes a seat of the plan."""
    return await service.change_active(call.connection, user_id, is_active=True)


@router.put("/users/{user_id}/permissions")
async def change_permissions(call: Managing, user_id: UUID, given: DeniedIn) -> UserOut:
    """What this person may not do although the role may. It can only take away."""
    return await service.change_denied(call.connection, user_id, given.denied)


@router.post("/company/ownership")
async def transfer_ownership(
    call: Annotated[Call, needs("company.transfer")], given: OwnershipIn
) -> UserOut:
    """Pass the company to an active colleague, and become administrador.

    The owner shows once more to be the owner: by the password, or by what they have instead.
    """
    caller, state = call.caller, services_of(call.request)
    await _found(call, given.user_id)
    async with call.outside():  # a hash has its turn
        await prove(state.pool, state.settings, await _who(call), given.password, given.code)
    name = f"{caller.first_name} {caller.last_name}".strip()
    return await service.transfer_ownership(
        call.connection,
        state.settings,
        Owner(name, caller.company_id, caller.company_name),
        given.user_id,
        reader_language(call.request),
    )


@router.get("/team")
async def list_team(call: Annotated[Call, needs("team.read")]) -> TeamOut:
    """The active colleagues to whom one may pass a conversation."""
    return TeamOut(data=await queries.list_team(call.connection))


async def _who(call: Call) -> Somebody:
    """The caller, by their session, or by a token that somebody else made."""
    caller, pool, token = call.caller, services_of(call.request).pool, token_of(call.request)
    trail = trail_of(call.request, str(caller.session_id) if caller.session_id else None)
    person = await find_person(pool, digest(token)) if token else None
    if person is None:
        return Somebody(caller.auth_user_id, caller.email, trail)
    return Somebody(
        person.auth_user_id,
        person.email,
        trail,
        person.session_id,
        person.created_at,
        person.is_limited,
    )


async def _found(call: Call, user_id: UUID) -> UserOut:
    found = await queries.get_user(call.connection, user_id)
    if found is None:
        raise NotFoundError("not_found")
    return found
