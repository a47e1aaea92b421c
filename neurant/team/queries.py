"""Queries for people; policies and database functions decide who reads and changes whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from neurant.api.listing import Listing, Sort, fetch_page
from neurant.core.db.pool import Connection, fetch_all, fetch_one, fetch_value, set_clause
from neurant.team.schemas import ColleagueOut, UserOut, UserQuery

_SELECT = """
select u.id, u.email, u.first_name, u.last_name, u.avatar_url, u.phone, u.role::text, u.is_active,
  array(select jsonb_object_keys(u.permissions) order by 1) as denied, u.invited_by,
  u.last_login_at, coalesce(d.last_seen_at, u.last_seen_at) as last_seen_at, u.created_at,
  u.id = any ((select private.two_step_users())::uuid[]) as has_two_step
from public.users u
left join private.team_directory() d on d.user_id = u.id
"""
_ORIGIN = """
select nullif(trim(i.first_name || ' ' || i.last_name), '') as invited_by, u.invited_at,
  u.accepted_invitation_at as accepted_at
from public.users u
left join public.users i on i.company_id = u.company_id and i.id = u.invited_by
where u.id = %s
"""
_LISTING = Listing(
    select=_SELECT.strip(),
    sorts={
        "first_name": Sort("u.first_name", "text", "first_name"),
        "email": Sort("u.email", "text", "email"),
        "created_at": Sort("u.created_at", "timestamptz", "created_at"),
    },
    id="u.id",
)
_ONE = _SELECT + "where u.id = %s"
_LOCK = "select from public.users u where u.id = %s for update of u"
_EDITABLE: tuple[LiteralString, ...] = ("first_name", "last_name", "phone", "avatar_url")
_UPDATE = "update public.users set "
_SET_ROLE = "select private.set_user_role(%s, %s::public.user_role_enum)"
_SET_ACTIVE = "select private.set_user_active(%s, %s)"
_SET_DENIED = "select private.set_user_permissions(%s, %s)"
_TRANSFER = "select private.transfer_ownership(%s)"
_TEAM = """
select d.user_id as id, d.first_name, d.last_name, d.avatar_url, d.role::text, d.last_seen_at
from private.team_directory() d order by d.role, d.first_name, d.last_name, d.user_id
"""
_NARROWABLE = """
select p.name, p.administrador, p.supervisor, p.operador from public.permissions p
where p.is_narrowable order by p.position
"""


@dataclass(frozen=True, slots=True)
class Origin:
    """The way in which a person came into the team.

    ``invited_by`` is None for the founder of the company, and for an inviter whom the reader may
    not see.
    """

    invited_by: str | None
    invited_at: datetime | None
    accepted_at: datetime | None


@dataclass(frozen=True, slots=True)
class Narrowable:
    """A permission that can be withdrawn from a person, and its reach for each role."""

    name: str
    administrador: str
    supervisor: str
    operador: str


async def list_users(connection: Connection, query: UserQuery) -> tuple[list[UserOut], str | None]:
    """Return a page of the people whom the caller may see."""
    conditions: list[LiteralString] = []
    if query.role is not None:
        conditions.append("u.role = %(role)s::public.user_role_enum")
    if query.is_active is not None:
        conditions.append("u.is_active = %(is_active)s")
    values = {"role": query.role, "is_active": query.is_active}
    return await fetch_page(connection, UserOut, _LISTING, query, query.sort, conditions, values)


async def get_user(connection: Connection, user_id: UUID) -> UserOut | None:
    """Return a person whom the caller may see."""
    return await fetch_one(connection, UserOut, _ONE, (user_id,))


async def lock_user(connection: Connection, user_id: UUID) -> bool:
    """Lock the caller's own profile until the transaction ends; return False if it is not
    their own.
    """
    cursor = await connection.execute(_LOCK, (user_id,))
    return cursor.rowcount == 1


async def update_user(connection: Connection, user_id: UUID, changes: Mapping[str, Any]) -> None:
    """Change the given fields of the caller's own profile."""
    statement = _UPDATE + set_clause(_EDITABLE, changes) + " where id = %(id)s"
    await connection.execute(statement, {**changes, "id": user_id})


async def set_role(connection: Connection, user_id: UUID, role: str) -> str:
    """Change a role: ``changed``, ``unchanged``, ``forbidden`` or ``not_found``."""
    return str(await fetch_value(connection, _SET_ROLE, (user_id, role)))


async def set_active(connection: Connection, user_id: UUID, *, is_active: bool) -> str:
    """Activate or deactivate: ``activated``, ``deactivated``, ``unchanged``,
    ``forbidden``, ``not_found``.
    """
    return str(await fetch_value(connection, _SET_ACTIVE, (user_id, is_active)))


async def set_denied(connection: Connection, user_id: UUID, denied: Sequence[str]) -> str:
    """Withdraw permissions: ``changed``, ``unchanged``, ``not_narrowable``,
    ``forbidden``, ``not_found``.
    """
    return str(await fetch_value(connection, _SET_DENIED, (user_id, list(denied))))


async def transfer_ownership(connection: Connection, user_id: UUID) -> str:
    """Change the owner: ``transferred``, ``unchanged``, ``forbidden`` or ``not_found``."""
    return str(await fetch_value(connection, _TRANSFER, (user_id,)))


async def list_team(connection: Connection) -> list[ColleagueOut]:
    """Return the active colleagues whom every member may see."""
    return await fetch_all(connection, ColleagueOut, _TEAM)


async def list_narrowable(connection: Connection) -> list[Narrowable]:
    """Return the permissions that can be withdrawn from a single person."""
    return await fetch_all(connection, Narrowable, _NARROWABLE)


async def get_origin(connection: Connection, user_id: UUID) -> Origin | None:
    """Return how a person came into the team, or None for a person whom the caller may not read."""
    return await fetch_one(connection, Origin, _ORIGIN, (user_id,))
