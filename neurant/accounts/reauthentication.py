"""Reauthentication: a person confirms their identity before an action that cannot be undone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from neurant.accounts.factor_queries import find_factor
from neurant.accounts.queries import find_login
from neurant.accounts.service import check_code, check_password
from neurant.auth.people import Person
from neurant.core.clock import utc_now
from neurant.core.db.pool import Pool
from neurant.core.db.tenancy import Trail
from neurant.core.errors import ForbiddenError, UnauthenticatedError
from neurant.core.settings import Settings

FRESH = timedelta(minutes=10)
ReauthenticationMethod = Literal["code", "password", "session"]


@dataclass(frozen=True, slots=True)
class Actor:
    """The person who acts.

    ``session`` separates the person's own attempts from those of strangers; None if the session is
    not ours. ``is_limited``: the single sign-on of a company opened the session.
    """

    login: UUID
    email: str
    trail: Trail
    session: UUID | None = None
    signed_in_at: datetime | None = None
    is_limited: bool = False


def actor_of(person: Person) -> Actor:
    """Return the person of a session."""
    return Actor(
        person.auth_user_id,
        person.email,
        person.trail,
        person.session_id,
        person.created_at,
        person.is_limited,
    )


async def reauthentication_method(pool: Pool, who: Actor) -> ReauthenticationMethod:
    """Return the proof that this person must give.

    It is a code if the second step is on, else the password if the login has one, else a session
    that began less than ten minutes ago. A limited session neither tries the password nor uses the
    codes of the login: the person signs in again at the company's provider.
    """
    if who.is_limited:
        return "session"
    factor = await find_factor(pool, who.login)
    if factor is not None and factor.is_confirmed:
        return "code"
    login = await find_login(pool, who.email)
    return "password" if login is not None and login.encrypted_password else "session"


async def reauthenticate(
    pool: Pool, settings: Settings, who: Actor, password: str | None, code: str | None
) -> None:
    """Check the proof that ``proof_asked_of`` names, under the same throttle as a login.

    Raises RateLimitedError and ForbiddenError: ``accounts.proof_needed`` if the proof is missing,
    ``accounts.wrong_code``, ``accounts.wrong_password``, ``accounts.sign_in_again``.
    """
    asked = await reauthentication_method(pool, who)
    if asked == "session":
        if who.signed_in_at is None or utc_now() - who.signed_in_at > FRESH:
            raise ForbiddenError("accounts.sign_in_again")
        return
    given = code if asked == "code" else password
    if not given:
        raise ForbiddenError("accounts.proof_needed")
    device = str(who.session) if who.session else None
    try:
        if asked == "code":
            await check_code(
                pool, settings, who.login, who.email, given, trail=who.trail, device=device
            )
        else:
            await check_password(pool, who.email, given, trail=who.trail, device=device)
    except UnauthenticatedError:  # the session is valid; only the field is wrong
        raise ForbiddenError(f"accounts.wrong_{asked}") from None
