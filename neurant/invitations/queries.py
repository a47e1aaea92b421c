"""Queries for invitations: database functions write them, and policies decide who reads them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, LiteralString
from uuid import UUID

from neurant.api.listing import Listing, Sort, fetch_page
from neurant.core.db.pool import Connection, fetch_one, fetch_value
from neurant.invitations.schemas import InvitationOut, InvitationQuery

_SELECT = """
select i.id, i.email, i.first_name, i.last_name, i.role::text, i.status::text, i.invited_by,
  nullif(btrim(u.first_name || ' ' || u.last_name), '') as inviter_name, i.language, i.sent_at,
  i.sent_count, i.expires_at, i.reminder_count, i.accepted_at, i.accepted_by_user_id, i.created_at,
  m.status as mail_status, m.error as mail_error
from public.user_invitations i
left join public.users u on u.company_id = i.company_id and u.id = i.invited_by
left join private.invitation_mails() m on m.invitation_id = i.id
"""
_LISTING = Listing(
    select=_SELECT.strip(),
    sorts={
        "email": Sort("i.email", "text", "email"),
        "sent_at": Sort("i.sent_at", "timestamptz", "sent_at"),
        "expires_at": Sort("i.expires_at", "timestamptz", "expires_at"),
    },
    id="i.id",
)
_ONE = _SELECT + "where i.id = %s"
_INVITE = """
select outcome, invitation_id
from private.invite_user(%s, %s::public.user_role_enum, %s, %s, %s, p_language => %s)
"""
_RENEW = "select private.renew_invitation(%s, %s)"
_CANCEL = "select private.cancel_invitation(%s)"
_LOOK = """
select outcome, company_name, email, role::text, first_name, last_name, invited_by, expires_at,
  has_login, language, timezone
from private.look_at_invitation(%s)
"""
_ACCEPT = "select outcome, company_id, user_id from private.accept_invitation(%s, %s, %s, %s)"
_ACCEPT_BY_SESSION = """
select outcome, company_id, user_id
from private.accept_invitation_by_session(%s, %s, %s, %s)
"""
_REMIND = """
select company_id, email, role::text, company_name, invited_by, expires_at, timezone, language
from private.remind_next(%s)
"""


@dataclass(frozen=True, slots=True)
class Invited:
    """The outcome of inviting; an id if there is an invitation."""

    outcome: Literal[
        "invited", "forbidden", "already_member", "deactivated", "already_invited", "too_many"
    ]
    invitation_id: UUID | None


@dataclass(frozen=True, slots=True)
class Seen:
    """The invitation of a link; only ``outcome`` (``unknown``) is set if there is none."""

    outcome: Literal["pending", "accepted", "expired", "cancelled", "unknown"]
    company_name: str
    email: str
    role: str
    first_name: str | None
    last_name: str | None
    invited_by: str
    expires_at: datetime
    has_login: bool
    language: str
    timezone: str


@dataclass(frozen=True, slots=True)
class Joined:
    """The outcome of accepting; ids if it succeeded."""

    outcome: Literal[
        "accepted",
        "accepted_before",
        "expired",
        "cancelled",
        "unknown",
        "email_mismatch",
        "already_member",
    ]
    company_id: UUID | None
    user_id: UUID | None


@dataclass(frozen=True, slots=True)
class Reminder:
    """A reminder that this transaction has claimed and whose link is renewed."""

    company_id: UUID
    email: str
    role: str
    company_name: str
    invited_by: str
    expires_at: datetime
    timezone: str
    language: str


async def list_invitations(
    connection: Connection, query: InvitationQuery
) -> tuple[list[InvitationOut], str | None]:
    """Return a page of the invitations to roles below the caller's."""
    conditions: list[LiteralString] = []
    if query.status is not None:
        conditions.append("i.status = %(status)s::public.invitation_status_enum")
    if query.role is not None:
        conditions.append("i.role = %(role)s::public.user_role_enum")
    if query.invited_by is not None:
        conditions.append("i.invited_by = %(invited_by)s")
    if query.sent_after is not None:
        conditions.append("i.sent_at >= %(sent_after)s")
    if query.sent_before is not None:
        conditions.append("i.sent_at < %(sent_before)s")
    values = query.model_dump(exclude={"limit", "cursor", "sort"})
    return await fetch_page(
        connection, InvitationOut, _LISTING, query, query.sort, conditions, values
    )


async def get_invitation(connection: Connection, invitation_id: UUID) -> InvitationOut | None:
    """Return an invitation that the caller may see."""
    return await fetch_one(connection, InvitationOut, _ONE, (invitation_id,))


async def insert_invitation(
    connection: Connection,
    email: str,
    role: str,
    first_name: str | None,
    last_name: str | None,
    digest: bytes,
    language: str,
) -> Invited:
    """Insert an invitation and return the database's outcome."""
    values = (email, role, first_name, last_name, digest, language)
    found = await fetch_one(connection, Invited, _INVITE, values)
    assert found is not None  # noqa: S101 - it always answers
    return found


async def renew_invitation(connection: Connection, invitation_id: UUID, digest: bytes) -> str:
    """Renew the link: return ``renewed``, or the reason why not."""
    return str(await fetch_value(connection, _RENEW, (invitation_id, digest)))


async def cancel_invitation(connection: Connection, invitation_id: UUID) -> str:
    """Cancel an invitation: return ``cancelled``, or the reason why not."""
    return str(await fetch_value(connection, _CANCEL, (invitation_id,)))


async def look_at_invitation(connection: Connection, digest: bytes) -> Seen:
    """Return the invitation of a link, and mark it if it has expired."""
    found = await fetch_one(connection, Seen, _LOOK, (digest,))
    assert found is not None  # noqa: S101 - it always answers
    return found


async def accept_invitation(
    connection: Connection,
    digest: bytes,
    login: UUID,
    first_name: str | None,
    last_name: str | None,
) -> Joined:
    """Make the login a member; return the database's outcome."""
    values = (digest, login, first_name, last_name)
    found = await fetch_one(connection, Joined, _ACCEPT, values)
    assert found is not None  # noqa: S101 - it always answers
    return found


async def accept_by_session(
    connection: Connection,
    digest: bytes,
    session: bytes,
    first_name: str | None,
    last_name: str | None,
) -> Joined:
    """Make the person of a session a member; return the database's outcome.

    Raises psycopg.Error (NA006) for a session that is limited to one company.
    """
    values = (digest, session, first_name, last_name)
    found = await fetch_one(connection, Joined, _ACCEPT_BY_SESSION, values)
    assert found is not None  # noqa: S101 - it always answers
    return found


async def remind_next(connection: Connection, digest: bytes) -> Reminder | None:
    """Claim a reminder that is due and give it this link; None if none is due."""
    return await fetch_one(connection, Reminder, _REMIND, (digest,))
