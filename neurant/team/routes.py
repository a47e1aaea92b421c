"""The endpoints for the people of a company."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query, Response

from neurant.accounts.reauthentication import Actor, reauthenticate
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
    """List the people of the company whom the caller may see.

    Owner and administradores see everybody, supervisores see supervisores and operadores,
    operadores see themselves.
    """
    data, cursor = await queries.list_users(call.connection, query)
    return Page(data=data, next_cursor=cursor)


@router.get("/users/{user_id}")
async def get_user(call: Reading, user_id: UUID, response: Response) -> UserOut:
    """Return one person of the company."""
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
    """Change the caller's own profile as a member of the company.

    A field that is left out keeps its value.

    Refuses: 403 ``api.not_permitted`` if the profile is not the caller's own.
    """
    if not await queries.lock_user(call.connection, user_id):
        await _found(call, user_id)  # 404 for an invisible person; a visible one is 403
        raise ForbiddenError("api.not_permitted", permission="profile.edit")
    check_match(call.request, await _found(call, user_id), UserPatch)
    changes = patch.model_dump(exclude_unset=True)
    if changes:
        await queries.update_user(call.connection, user_id, changes)
    return await get_user(call, user_id, response)


@router.post("/users/{user_id}/role")
async def change_role(call: Managing, user_id: UUID, given: RoleIn) -> UserOut:
    """Give a person another role.

    Person and new role must be below the role of the caller. Assignments that the new role cannot
    have end: the bots of an operador, the bots of which a supervisor is in charge.

    Refuses: 403 ``team.not_below`` if the person does not have a role below that of the caller.
    """
    return await service.change_role(call.connection, user_id, given.role)


@router.post("/users/{user_id}/deactivate")
async def deactivate_user(call: Managing, user_id: UUID) -> UserOut:
    """Deactivate a person at once.

    Their sessions end, their conversations return to the queue, and their seat of the plan is free.

    Refuses: 403 ``team.not_below`` if the person does not have a role below that of the caller.
    """
    return await service.change_active(call.connection, user_id, is_active=False)


@router.post("/users/{user_id}/activate")
async def activate_user(call: Managing, user_id: UUID) -> UserOut:
    """Activate a deactivated person again, with the role and data that they had.

    The person takes a seat of the plan.

    Refuses: 403 ``team.not_below`` if the person does not have a role below that of the caller; 409
    ``limit.next.max_users`` or ``limit.last.max_users`` if the plan has no seat left.
    """
    return await service.change_active(call.connection, user_id, is_active=True)


@router.put("/users/{user_id}/permissions")
async def change_permissions(call: Managing, user_id: UUID, given: DeniedIn) -> UserOut:
    """Set the permissions of a role that a person does not have.

    Permissions can only be withdrawn, not added. Permissions that are not listed are given back.

    Refuses: 403 ``team.not_below`` if the person does not have a role below that of the caller; 409
    ``team.not_narrowable`` if a permission is unknown or cannot be withdrawn from a person.
    """
    return await service.change_denied(call.connection, user_id, given.denied)


@router.post("/company/ownership")
async def transfer_ownership(
    call: Annotated[Call, needs("company.transfer")], given: OwnershipIn
) -> UserOut:
    """Make an active colleague the owner; the caller becomes administrador.

    The owner proves their identity again: with a code if two-step verification is on, else with the
    password, else with a session that is less than ten minutes old.

    Refuses: 403 ``accounts.proof_needed``, ``accounts.wrong_password``, ``accounts.wrong_code`` or
    ``accounts.sign_in_again`` if the proof is missing or wrong; 404 ``not_found`` if the person is
    no active colleague; 409 ``team.owner_already`` if the person is the owner; 429
    ``accounts.slow_down`` after several wrong attempts.
    """
    caller, state = call.caller, services_of(call.request)
    await _found(call, given.user_id)
    async with call.without_connection():  # the hash of the password waits for its turn
        await reauthenticate(
            state.pool, state.settings, await _who(call), given.password, given.code
        )
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
    """List the active colleagues to whom the caller may transfer a conversation."""
    return TeamOut(data=await queries.list_team(call.connection))


async def _who(call: Call) -> Actor:
    """Return the caller, by their session or by a token of another issuer."""
    caller, pool, token = call.caller, services_of(call.request).pool, token_of(call.request)
    trail = trail_of(call.request, str(caller.session_id) if caller.session_id else None)
    person = await find_person(pool, digest(token)) if token else None
    if person is None:
        return Actor(caller.auth_user_id, caller.email, trail)
    return Actor(
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
