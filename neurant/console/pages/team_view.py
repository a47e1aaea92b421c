"""Read the team page in the reader's transaction: people, seats and invitations."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any
from uuid import UUID

from neurant.auth.people import SignedIn
from neurant.console.context import console_context, require_in_context
from neurant.console.notice import Notice
from neurant.core.clock import utc_now
from neurant.core.db.pool import Connection
from neurant.core.errors import NotFoundError
from neurant.invitations.queries import list_invitations
from neurant.invitations.schemas import InvitationOut, InvitationQuery
from neurant.plans.limits import list_usage
from neurant.team import queries
from neurant.team.schemas import UserOut, UserQuery

ROLES = ("owner", "administrador", "supervisor", "operador")  # from the strongest to the weakest
ONLINE = timedelta(minutes=5)
_MAX_PEOPLE = 200


@dataclass(frozen=True, slots=True)
class Person:
    """A person as the page shows them; a value that the reader may not see is None."""

    id: UUID
    name: str
    role: str
    email: str | None
    is_active: bool
    last_seen_at: datetime | None
    denied: int
    has_two_step: bool
    is_reader: bool
    may_be_changed: bool

    @property
    def is_online(self) -> bool:
        """Return whether the person was active in the last minutes."""
        return self.last_seen_at is not None and utc_now() - self.last_seen_at < ONLINE


@dataclass(frozen=True, slots=True)
class Right:
    """A permission of a person's role, shown as a checkbox."""

    name: str
    object: str
    is_allowed: bool


def roles_below(role: str) -> Sequence[str]:
    """Return the roles below ``role``, which its holder may assign."""
    return ROLES[ROLES.index(role) + 1 :] if role in ("owner", "administrador") else ()


async def team_context(
    connection: Connection, staff: SignedIn, notice: Notice | None
) -> dict[str, Any]:
    """Return the context of the team page. Raises ForbiddenError."""
    context = await console_context(connection, staff, notice)
    may = context["may"]
    require_in_context(context, "team.read")
    seats = {one.limit_name: one for one in await list_usage(connection)}.get("max_users")
    return context | {
        "people": await _people(connection, staff, may),
        "invitations": await _invitations(connection) if "invitations.read" in may else None,
        "may_invite": "invitations.manage" in may,
        "may_manage": "users.manage" in may,
        "roles": roles_below(staff.role),
        "seats": seats,
    }


async def _people(connection: Connection, staff: SignedIn, may: Collection[str]) -> list[Person]:
    known: dict[UUID, Person] = {}
    for one in await queries.list_team(connection) if "team.read" in may else []:
        name = f"{one.first_name} {one.last_name}".strip()
        is_reader = one.id == staff.user_id
        seen = one.last_seen_at
        known[one.id] = Person(one.id, name, one.role, None, True, seen, 0, False, is_reader, False)
    query, cursor = UserQuery(limit=_MAX_PEOPLE), None
    while "users.read" in may:
        page, cursor = await queries.list_users(
            connection, query.model_copy(update={"cursor": cursor})
        )
        for user in page:
            known[user.id] = person_of(user, staff, may)
        if cursor is None:
            break
    return sorted(
        known.values(),
        key=lambda one: (not one.is_active, ROLES.index(one.role), one.name.casefold(), one.id),
    )


def person_of(user: UserOut, staff: SignedIn, may: Collection[str]) -> Person:
    """Return a user as the page shows them to this reader."""
    return Person(
        user.id,
        f"{user.first_name} {user.last_name}".strip() or user.email,
        user.role,
        user.email,
        user.is_active,
        user.last_seen_at,
        len(user.denied),
        bool(user.has_two_step),
        user.id == staff.user_id,
        "users.manage" in may and user.role in roles_below(staff.role),
    )


async def _invitations(connection: Connection) -> list[InvitationOut]:
    """Return the newest pending and expired invitations."""
    found: list[InvitationOut] = []
    for status in ("pending", "expired"):
        query = InvitationQuery.model_validate({"limit": _MAX_PEOPLE, "status": status})
        page, _ = await list_invitations(connection, query)
        found += page
    return found


async def person_context(
    connection: Connection, staff: SignedIn, user_id: UUID, notice: Notice | None
) -> dict[str, Any]:
    """Return the context of a person's page. Raises NotFoundError."""
    user = await queries.get_user(connection, user_id)
    if user is None:
        raise NotFoundError("not_found")
    context = await console_context(connection, staff, notice)
    person = person_of(user, staff, context["may"])
    rights = await _rights(connection, user)
    transferable = "company.transfer" in context["may"] and user.is_active
    return context | {
        "person": person,
        "user": user,
        "origin": await queries.get_origin(connection, user_id),
        "roles": roles_below(staff.role),
        "rights": [(name, list(some)) for name, some in groupby(rights, lambda one: one.object)],
        "may_transfer": transferable and not person.is_reader,
    }


async def _rights(connection: Connection, user: UserOut) -> list[Right]:
    if user.role == "owner":
        return []
    return [
        Right(one.name, one.name.partition(".")[0], one.name not in user.denied)
        for one in await queries.list_narrowable(connection)
        if getattr(one, user.role) != "none"
    ]


async def newly_denied(connection: Connection, user_id: UUID, allowed: Sequence[str]) -> list[str]:
    """Return the permissions to deny: the unticked ones, and denied ones that the form omits.

    The form shows only the permissions of the person's role. Raises NotFoundError.
    """
    user = await queries.get_user(connection, user_id)
    if user is None:
        raise NotFoundError("not_found")
    shown = {one.name for one in await _rights(connection, user)}
    return sorted((shown - set(allowed)) | (set(user.denied) - shown))
