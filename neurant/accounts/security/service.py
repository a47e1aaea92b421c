"""Changes of an account that only its person may make, each after a proof of identity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from urllib.parse import urlsplit
from uuid import UUID

from neurant.accounts import factor_queries as factors
from neurant.accounts.queries import find_password_context, release_throttle
from neurant.accounts.schemas import OpenedSession
from neurant.accounts.security import queries
from neurant.accounts.security.queries import Profile
from neurant.accounts.service import FACTOR, check_code, check_password, plain_trail, throttle
from neurant.auth.codes import (
    NewFactor,
    digest,
    keyed_digest,
    matching_step,
    new_factor,
    new_recovery_codes,
    new_token,
    plain_digits,
    plain_recovery_code,
)
from neurant.auth.passwords import check_new_password, hashed
from neurant.auth.people import Person
from neurant.auth.sessions import check_own_login
from neurant.core.clock import utc_now
from neurant.core.db.pool import Pool
from neurant.core.db.tenancy import Staff, come_from, tenant
from neurant.core.errors import (
    BadInputError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    UnauthenticatedError,
)
from neurant.core.person_names import plain_name
from neurant.core.settings import Settings
from neurant.core.vault import Vault
from neurant.mail.service import queue_mail
from neurant.texts import Language

MAX_PHONE = 50
MAX_URL = 2000


@dataclass(frozen=True, slots=True)
class TurnedOn:
    """The recovery codes, shown once, and the session under its new token."""

    recovery_codes: list[str]
    session: OpenedSession


async def change_password(
    pool: Pool, settings: Settings, person: Person, old: str, new: str, *, language: Language
) -> OpenedSession:
    """Set another password. The person's other sessions end; this one gets a new token.

    Raises ForbiddenError (``accounts.wrong_password``, ``accounts.limited_session``),
    BadInputError, RateLimitedError.
    """
    await check_own_login(pool, person.digest)
    check_new_password(new, person.email, await find_password_context(pool, person.digest))
    await _prove_password(pool, person, old)
    password_hash, token = await hashed(new), new_token()
    async with pool.connection() as connection, connection.transaction():
        await come_from(connection, plain_trail(person.trail))
        if not await queries.change_password(
            connection, person.digest, digest(token), password_hash
        ):
            raise UnauthenticatedError("accounts.session_expired")
        await queue_mail(
            connection,
            Vault(settings),
            to=person.email,
            template="accounts.password_changed",
            language=language,
            params={"link": f"{settings.base_url()}/forgot"},
        )
    return OpenedSession(token, person.expires_at, person.company_id)


async def _prove_password(pool: Pool, person: Person, password: str) -> None:
    try:
        await check_password(
            pool, person.email, password, trail=person.trail, device=str(person.session_id)
        )
    except UnauthenticatedError:  # the session is valid; only the field is wrong
        raise ForbiddenError("accounts.wrong_password") from None


async def end_session(pool: Pool, person: Person, which: UUID) -> None:
    """End one of the person's own sessions. Raises NotFoundError for any other session."""
    async with pool.connection() as connection, connection.transaction():
        await come_from(connection, plain_trail(person.trail))
        if not await queries.end_sessions(connection, person.digest, which):
            raise NotFoundError("not_found")


async def end_other_sessions(pool: Pool, person: Person) -> int:
    """End every session of the person except this one; return how many ended."""
    async with pool.connection() as connection, connection.transaction():
        await come_from(connection, plain_trail(person.trail))
        return await queries.end_sessions(connection, person.digest, None)


async def begin_two_step(
    pool: Pool, settings: Settings, person: Person, password: str
) -> NewFactor:
    """Create a secret for an authenticator app; it has no effect until a code confirms it.

    Raises ForbiddenError (``accounts.wrong_password``, ``accounts.limited_session``), ConflictError
    if the second step is on already.
    """
    await check_own_login(pool, person.digest)
    await _prove_password(pool, person, password)
    made = new_factor(person.email)
    sealed = Vault(settings).seal(FACTOR, person.auth_user_id, made.secret)
    async with pool.connection() as connection, connection.transaction():
        if not await factors.begin_factor(connection, person.digest, sealed):
            raise ConflictError("accounts.two_step_is_on")
    return made


async def waiting_two_step(pool: Pool, settings: Settings, person: Person) -> NewFactor | None:
    """Return the secret that waits for its first code, so that it can be shown again.

    Raises ForbiddenError (``accounts.limited_session``): a session that a company's provider opened
    cannot read the secret.
    """
    sealed = await factors.find_waiting_secret(pool, person.digest)
    if sealed is None:
        return None
    secret = Vault(settings).open(FACTOR, person.auth_user_id, sealed)
    return new_factor(person.email, secret)


async def confirm_two_step(
    pool: Pool, settings: Settings, person: Person, code: str, *, now: datetime | None = None
) -> TurnedOn:
    """Turn the second step on with the first code of the app.

    Raises ForbiddenError (``accounts.wrong_code``, ``accounts.limited_session``), ConflictError if
    no secret waits.
    """
    await check_own_login(pool, person.digest)
    device = str(person.session_id)
    await throttle(pool, "code", person.email, plain_trail(person.trail), device)
    waiting = await waiting_two_step(pool, settings, person)
    if waiting is None:
        raise ConflictError("accounts.no_two_step_begun")
    step = matching_step(waiting.secret, plain_digits(code), now or utc_now())
    if step is None:
        raise ForbiddenError("accounts.wrong_code")
    codes, token = new_recovery_codes(), new_token()
    async with pool.connection() as connection, connection.transaction():
        await come_from(connection, plain_trail(person.trail))
        kept = _kept(settings, person.auth_user_id, codes)
        if not await factors.confirm_factor(connection, person.digest, digest(token), step, kept):
            raise ConflictError("accounts.no_two_step_begun")
        await release_throttle(connection, "code", person.email, None, device)
    return TurnedOn(codes, OpenedSession(token, person.expires_at, person.company_id))


async def renew_recovery_codes(
    pool: Pool, settings: Settings, person: Person, password: str, code: str
) -> list[str]:
    """Replace the recovery codes, after a check of password and code."""
    await _prove_both(pool, settings, person, password, code)
    codes = new_recovery_codes()
    async with pool.connection() as connection, connection.transaction():
        await come_from(connection, plain_trail(person.trail))
        kept = _kept(settings, person.auth_user_id, codes)
        if not await factors.renew_codes(connection, person.digest, kept):
            raise ConflictError("accounts.two_step_is_off")
    return codes


async def disable_two_step(
    pool: Pool, settings: Settings, person: Person, password: str, code: str
) -> OpenedSession:
    """Turn the second step off, after a check of password and code."""
    await _prove_both(pool, settings, person, password, code)
    token = new_token()
    async with pool.connection() as connection, connection.transaction():
        await come_from(connection, plain_trail(person.trail))
        if not await factors.disable_factor(connection, person.digest, digest(token)):
            raise ConflictError("accounts.two_step_is_off")
    return OpenedSession(token, person.expires_at, person.company_id)


async def _prove_both(
    pool: Pool, settings: Settings, person: Person, password: str, code: str
) -> None:
    await check_own_login(pool, person.digest)
    await _prove_password(pool, person, password)
    factor = await factors.find_factor(pool, person.auth_user_id)
    if factor is None or not factor.is_confirmed:
        raise ConflictError("accounts.two_step_is_off")
    try:
        await check_code(
            pool,
            settings,
            person.auth_user_id,
            person.email,
            code,
            trail=person.trail,
            device=str(person.session_id),
        )
    except UnauthenticatedError:
        raise ForbiddenError("accounts.wrong_code") from None


def _kept(settings: Settings, login: UUID, codes: list[str]) -> list[bytes]:
    return [
        keyed_digest(settings, "recovery", login.bytes, plain_recovery_code(code)) for code in codes
    ]


async def read_profile(pool: Pool, person: Person) -> Profile | None:
    """Return the part of the person that colleagues see; None for a person without a company."""
    if person.company_id is None:
        return None
    staff = Staff(person.auth_user_id, person.company_id, person.trail)
    async with tenant(pool, staff) as connection:
        return await queries.find_profile(connection)


async def change_profile(
    pool: Pool,
    person: Person,
    changes: Mapping[str, str | None],
    check: Callable[[Profile], None] = lambda _: None,
) -> None:
    """Change the named fields of the person's own profile, if ``check`` accepts the locked profile.

    Raises BadInputError that names the field, ConflictError for a person without a company,
    ForbiddenError if the company is read-only or the profile is not theirs.
    """
    if person.company_id is None:
        raise ConflictError("accounts.no_company_yet")
    staff = Staff(person.auth_user_id, person.company_id, person.trail)
    async with tenant(pool, staff) as connection:
        known = await queries.find_profile(connection, locked=True)
        if known is None:
            if await queries.find_profile(connection) is None:
                raise NotFoundError("not_found")
            if await queries.is_read_only(connection, person.company_id):
                raise ForbiddenError("api.read_only")
            raise ForbiddenError("accounts.profile_not_yours")
        check(known)
        wanted = {**asdict(known), **changes}
        checked = checked_profile(
            wanted["first_name"] or "",
            wanted["last_name"] or "",
            wanted["phone"],
            wanted["avatar_url"],
        )
        await queries.update_profile(connection, checked)


def checked_profile(
    first_name: str, last_name: str, phone: str | None, avatar_url: str | None
) -> Profile:
    """Return a profile that may be stored. Raises BadInputError that names the field."""
    phone = " ".join((phone or "").split()) or None
    if phone is not None and (len(phone) > MAX_PHONE or not set(phone) <= set("+0123456789 ()-.")):
        raise BadInputError("accounts.bad_phone", most=MAX_PHONE)
    address = (avatar_url or "").strip() or None
    if address is not None:
        _check_picture(address)
    return Profile(plain_name(first_name), plain_name(last_name), phone, address)


def _check_picture(address: str) -> None:
    try:
        parts = urlsplit(address)
        fine = parts.scheme == "https" and bool(parts.hostname) and address.isprintable()
    except ValueError:
        fine = False
    if not fine or len(address) > MAX_URL or " " in address:
        raise BadInputError("accounts.bad_picture", most=MAX_URL)
