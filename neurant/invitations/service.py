"""Inviting, accepting and reminding, each with its mail in one transaction."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
from fastapi import Request

from neurant.auth.codes import digest
from neurant.auth.current import person_of, trail_of
from neurant.auth.limited_sessions import limits_told
from neurant.auth.passwords import check_new_password, hashed
from neurant.auth.people import Person
from neurant.core.clock import utc_now
from neurant.core.db.pool import Connection, Pool, fetch_value
from neurant.core.db.tenancy import Trail, come_from
from neurant.core.emails import normal_email
from neurant.core.errors import (
    BadInputError,
    ConflictError,
    ForbiddenError,
    GoneError,
    NeurantError,
    NotFoundError,
    RateLimitedError,
    UnauthenticatedError,
)
from neurant.core.services import services_of
from neurant.core.settings import Settings
from neurant.core.vault import Vault
from neurant.invitations import queries
from neurant.invitations.queries import Seen
from neurant.invitations.schemas import AcceptIn, InvitationIn
from neurant.invitations.unsubscribe import refuse_link
from neurant.mail.service import queue_mail
from neurant.plans.limits import REACHED
from neurant.texts import Language, text

_CREATE_LOGIN = "select private.create_login(%s, %s, true)"
_ACCEPT_TERMS = "select private.accept_terms(%s, %s, %s)"
_NOT_MAILED = "NA007"  # raised by private.check_invitation_mail
_TIMEZONE = "select timezone from public.companies"


@dataclass(frozen=True, slots=True)
class Inviter:
    """The person who invites, as the mail names them."""

    name: str
    company_id: UUID
    company_name: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The new membership and its login."""

    company_id: UUID
    company_name: str
    user_id: UUID
    role: str
    auth_user_id: UUID
    email: str


def new_token() -> str:
    """Return a token of 32 random bytes for a link; only its digest is stored."""
    return secrets.token_urlsafe(32)


def link_to(settings: Settings, token: str) -> str:
    """Return the page that accepts an invitation; a token after ``#`` is in no log and no
    Referer.
    """
    return f"{settings.base_url()}/invitation#{token}"


async def invite(
    connection: Connection,
    settings: Settings,
    inviter: Inviter,
    new: InvitationIn,
    language: Language,
) -> UUID:
    """Invite a person, in the caller's transaction; return the invitation's id.

    Raises BadInputError (no address), ForbiddenError (the role), ConflictError (a member, already
    invited, or refuses invitations), RateLimitedError (too many to the address or from the
    company); SQLSTATE NA002 if no seat is left.
    """
    token, email = new_token(), normal_email(new.email)
    done = await queries.insert_invitation(
        connection, email, new.role, new.first_name, new.last_name, digest(token), language
    )
    if done.outcome != "invited" or done.invitation_id is None:
        raise _refusal(done.outcome, new.role, email)
    await _send(connection, settings, inviter, done.invitation_id, token, language)
    return done.invitation_id


async def renew(
    connection: Connection, settings: Settings, inviter: Inviter, invitation_id: UUID
) -> None:
    """Send a new link for seven more days. Raises NotFoundError and the errors of ``invite``."""
    token = new_token()
    outcome = await queries.renew_invitation(connection, invitation_id, digest(token))
    if outcome != "renewed":
        raise await _seen_refusal(connection, invitation_id, outcome)
    await _send(connection, settings, inviter, invitation_id, token, None)


async def cancel(connection: Connection, invitation_id: UUID) -> None:
    """Cancel a pending invitation. Raises NotFoundError, ForbiddenError, ConflictError."""
    outcome = await queries.cancel_invitation(connection, invitation_id)
    if outcome != "cancelled":
        raise await _seen_refusal(connection, invitation_id, outcome)


async def _seen_refusal(connection: Connection, invitation_id: UUID, outcome: str) -> NeurantError:
    # An invitation that the caller may not see is answered like one that does not exist.
    seen = await queries.get_invitation(connection, invitation_id)
    return _refusal(outcome, seen.role, seen.email) if seen else NotFoundError("not_found")


def _refusal(outcome: str, role: str, email: str) -> NeurantError:
    if outcome == "forbidden":
        return ForbiddenError("invitations.role_not_below", role=role)
    if outcome == "too_many":
        midnight = (utc_now() + timedelta(days=1)).replace(hour=0, minute=0, second=0)
        seconds = int((midnight - utc_now()).total_seconds()) + 1
        return RateLimitedError("invitations.too_many", seconds=seconds)
    if outcome == "not_found":
        return NotFoundError("not_found")
    codes = {
        "already_member": "invitations.already_member",
        "deactivated": "invitations.deactivated",
        "already_invited": "invitations.already_invited",
    }
    return ConflictError(codes.get(outcome, "invitations.closed"), email=email)


async def _send(
    connection: Connection,
    settings: Settings,
    inviter: Inviter,
    invitation_id: UUID,
    token: str,
    language: Language | None,
) -> None:
    made = await queries.get_invitation(connection, invitation_id)
    if made is None:  # the caller may create invitations but not read them
        raise ForbiddenError("api.not_permitted", permission="invitations.read")
    spoken: Language = language or ("en" if made.language == "en" else "es")
    timezone = str(await fetch_value(connection, _TIMEZONE))
    params = {
        "inviter": inviter.name,
        "company": inviter.company_name,
        "role": text(f"console.roles.{made.role}", spoken).lower(),
        "until": day_of(made.expires_at, timezone, spoken),
        "link": link_to(settings, token),
        "refuse_link": refuse_link(settings, made.email),
    }
    try:
        await queue_mail(
            connection,
            Vault(settings),
            to=made.email,
            template="team.invitation",
            language=spoken,
            params=params,
            company_id=inviter.company_id,
        )
    except psycopg.Error as error:
        raise _not_mailed(error, made.email) from None


def _not_mailed(error: psycopg.Error, email: str) -> Exception:
    """Return the error for a refused mail; the database error itself if it has another cause."""
    if error.sqlstate != _NOT_MAILED:
        return error
    told = json.loads(error.diag.message_detail or "{}")
    if told["scope"] == "refused":
        return ConflictError("invitations.refused", email=email)
    return RateLimitedError(f"invitations.too_many_by_{told['scope']}", seconds=told["seconds"])


def day_of(moment: datetime, timezone: str, language: Language) -> str:
    """Return a date such as ``29 de noviembre`` in the company's time zone."""
    local = moment.astimezone(ZoneInfo(timezone))
    month = text(f"invitations.month.{local.month}", language)
    return text("invitations.day", language, day=local.day, month=month)


async def look(pool: Pool, token: str) -> Seen:
    """Return the invitation of a link that can still be accepted.

    Raises NotFoundError (unknown, or replaced by a newer link) and GoneError (expired, cancelled,
    or accepted before).
    """
    async with pool.connection() as connection:
        seen = await queries.look_at_invitation(connection, digest(token))
    _raise_for_outcome(seen.outcome)
    return seen


def _raise_for_outcome(outcome: str) -> None:
    match outcome:
        case "pending" | "accepted_now":
            return
        case "unknown":
            raise NotFoundError("invitations.unknown")
        case "expired":
            raise GoneError("invitations.expired")
        case "cancelled":
            raise GoneError("invitations.cancelled")
        case "email_mismatch":
            raise ForbiddenError("invitations.other_address")
        case "already_member":
            raise ConflictError("invitations.member_already")
        case _:
            raise GoneError("invitations.accepted_before")


async def accept(
    pool: Pool, settings: Settings, given: AcceptIn, person: Person | None, trail: Trail
) -> Accepted:
    """Make the person of a session, or a new person with the invited address, a member.

    Everything is done in one transaction, the welcome mail included; of two concurrent requests one
    succeeds. Raises the errors of ``look``; UnauthenticatedError if the address has an account
    already, ForbiddenError for an account of another address or a session limited to one company,
    BadInputError if the name or password is not acceptable or a new person did not accept the
    terms; SQLSTATE NA002 if the plan has no seat left.
    """
    seen = await look(pool, given.token)
    password = None if person else await _new_password(settings, seen, given)
    async with pool.connection() as connection, connection.transaction():
        await come_from(connection, trail)
        names = given.first_name, given.last_name
        if person is None:
            login = await _new_login(connection, settings, seen, given, password)
            joined = await queries.accept_invitation(connection, digest(given.token), login, *names)
        else:
            login = person.auth_user_id
            with limits_told():
                joined = await queries.accept_by_session(
                    connection, digest(given.token), person.digest, *names
                )
        _raise_for_outcome("accepted_now" if joined.outcome == "accepted" else joined.outcome)
        assert joined.company_id is not None  # noqa: S101 - accepted
        assert joined.user_id is not None  # noqa: S101 - accepted
        await _welcome(connection, settings, seen, given, joined.company_id)
    return Accepted(
        joined.company_id, seen.company_name, joined.user_id, seen.role, login, seen.email
    )


async def _new_login(
    connection: Connection, settings: Settings, seen: Seen, given: AcceptIn, password: str | None
) -> UUID:
    login = await fetch_value(connection, _CREATE_LOGIN, (seen.email, password))
    if not isinstance(login, UUID):  # another request created it a moment ago
        raise UnauthenticatedError("invitations.sign_in_first")
    if settings.has_terms():
        first, last = given.first_name or seen.first_name, given.last_name or seen.last_name or ""
        await connection.execute(_ACCEPT_TERMS, (login, first, last))
    return login


async def _new_password(settings: Settings, seen: Seen, given: AcceptIn) -> str:
    """Return the hash of a new person's password."""
    if seen.has_login:
        raise UnauthenticatedError("invitations.sign_in_first")
    if given.password is None or not (given.first_name or seen.first_name):
        raise BadInputError("invitations.name_and_password")
    names = (given.first_name, given.last_name, seen.first_name, seen.last_name, seen.company_name)
    check_new_password(given.password, seen.email, [name for name in names if name])
    if settings.has_terms() and not given.accept_terms:
        raise BadInputError("accounts.terms_not_accepted")
    return await hashed(given.password)


async def _welcome(
    connection: Connection, settings: Settings, seen: Seen, given: AcceptIn, company_id: UUID
) -> None:
    language: Language = "en" if seen.language == "en" else "es"
    params = {
        "name": given.first_name or seen.first_name or seen.email.partition("@")[0],
        "company": seen.company_name,
        "role": text(f"console.roles.{seen.role}", language).lower(),
        "link": f"{settings.base_url()}/console/inbox",
    }
    await queue_mail(
        connection,
        Vault(settings),
        to=seen.email,
        template="team.welcome",
        language=language,
        params=params,
        company_id=company_id,
    )


async def remind(connection: Connection, settings: Settings) -> bool:
    """Send one reminder that is due, in the caller's transaction; return False if none is due."""
    token = new_token()
    due = await queries.remind_next(connection, digest(token))
    if due is None:
        return False
    language: Language = "en" if due.language == "en" else "es"
    params = {
        "inviter": due.invited_by,
        "company": due.company_name,
        "role": text(f"console.roles.{due.role}", language).lower(),
        "until": day_of(due.expires_at, due.timezone, language),
        "link": link_to(settings, token),
        "refuse_link": refuse_link(settings, due.email),
    }
    try:
        async with connection.transaction():
            await queue_mail(
                connection,
                Vault(settings),
                to=due.email,
                template="team.reminder",
                language=language,
                params=params,
                company_id=due.company_id,
            )
    except (
        psycopg.Error
    ) as error:  # a refused reminder counts as sent, so that the next one follows
        if error.sqlstate != _NOT_MAILED:
            raise
    return True


async def accept_as_caller(request: Request, given: AcceptIn) -> Accepted:
    """Accept as the person of the request's session, else as a new person."""
    person = await person_of(request)
    state = services_of(request)
    trail = person.trail if person else trail_of(request)
    try:
        return await accept(state.pool, state.settings, given, person, trail)
    except psycopg.Error as error:
        if error.sqlstate != REACHED:
            raise
        raise ConflictError("invitations.no_seat") from None
