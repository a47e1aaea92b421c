"""Sign-up without revealing which addresses have an account.

The login is created when the mailbox is proven and not before: until then the address belongs to
nobody. A link proves the mailbox in the browser that signed up, or together with the password. A
person who signs up with another person's address therefore gains nothing when that person opens the
link.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from neurant.accounts.queries import MailPurpose, allow_mail
from neurant.accounts.schemas import OpenedSession
from neurant.accounts.service import open_session, plain_trail, throttle
from neurant.accounts.signup import queries
from neurant.accounts.signup.schemas import NewAccount
from neurant.auth.codes import digest, keyed_digest, new_mail_code, new_token, plain_digits
from neurant.auth.passwords import check_new_password, hashed, matches
from neurant.core.clock import utc_now
from neurant.core.db.pool import Connection, Pool
from neurant.core.db.tenancy import Trail
from neurant.core.emails import normal_email
from neurant.core.errors import (
    BadInputError,
    ConflictError,
    ForbiddenError,
    GoneError,
    NeurantError,
    NotFoundError,
    RateLimitedError,
)
from neurant.core.person_names import plain_name
from neurant.core.settings import Settings
from neurant.core.vault import Vault
from neurant.mail.service import queue_mail
from neurant.texts import Language

RESEND_AFTER = 60
_LIFE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class _Secrets:
    """The secrets of a mail, and their stored digests."""

    link: str
    code: str
    link_digest: bytes
    code_digest: bytes


def _secrets(settings: Settings, pending: bytes) -> _Secrets:
    link, code = new_token(), new_mail_code()
    return _Secrets(link, code, digest(link), keyed_digest(settings, "mail", pending, code))


@dataclass(frozen=True, slots=True)
class Begun:
    """The token that the browser holds, and when it expires."""

    token: str
    expires_at: datetime


async def begin(
    pool: Pool, settings: Settings, new: NewAccount, *, trail: Trail, language: Language
) -> Begun:
    """Begin a sign-up and write to the address; an address with an account gets another mail.

    Raises BadInputError if name, address or password is not acceptable, and RateLimitedError.
    """
    email = normal_email(new.email)
    first_name, last_name = plain_name(new.first_name), plain_name(new.last_name)
    check_new_password(new.password, email, (first_name, last_name))
    if settings.has_terms() and not new.accept_terms:
        raise BadInputError("accounts.terms_not_accepted")
    await throttle(pool, "sign_up", None, plain_trail(trail))
    token = new_token()
    pending = digest(token)
    made = _secrets(settings, pending)
    person = (email, first_name, last_name, await hashed(new.password))
    async with pool.connection() as connection, connection.transaction():
        await _allow(connection, "sign_up", email)
        await _allow(
            connection, "verification", pending.hex()
        )  # counts the first mail of this sign-up
        is_new = await queries.insert_sign_up(
            connection,
            person,
            pending,
            made.link_digest,
            made.code_digest,
            accepts_terms=settings.has_terms(),
        )
        await _write(connection, settings, email, first_name, made, language, is_new=is_new)
    return Begun(token, utc_now() + _LIFE)


async def resend(pool: Pool, settings: Settings, token: str, *, language: Language) -> None:
    """Send another mail with a new link and code. Raises NotFoundError, RateLimitedError."""
    pending = digest(token)
    made = _secrets(settings, pending)
    async with pool.connection() as connection, connection.transaction():
        known = await queries.renew_sign_up(connection, pending, made.link_digest, made.code_digest)
        if known is None:
            raise NotFoundError("accounts.sign_up_over")
        await _allow(connection, "verification", pending.hex())
        await _allow(connection, "verification", known.email)
        is_new = known.outcome == "new"
        await _write(
            connection, settings, known.email, known.first_name, made, language, is_new=is_new
        )


async def prove(
    pool: Pool,
    settings: Settings,
    *,
    trail: Trail,
    token: str | None = None,
    link: str | None = None,
    code: str | None = None,
    password: str | None = None,
) -> OpenedSession:
    """Open a session for a person who proves the mailbox with ``link`` or ``code``.

    With neither, the session is for the browser whose link was opened on another device. Raises the
    errors of ``_refusal``, and RateLimitedError.
    """
    pending = digest(token) if token else None
    link_digest = digest(link) if link else None
    code_digest = None
    if code is not None and pending is not None:
        code_digest = keyed_digest(settings, "mail", pending, plain_digits(code))
    proven = False
    if link and password is not None:
        proven = await _knows_password(pool, link, password, trail)
    async with pool.connection() as connection, connection.transaction():
        if link is None and code is None:
            login = await queries.claim(connection, pending) if pending else None
            outcome = "verified" if login else "not_verified"
        else:
            done = await queries.verify(
                connection, pending, link_digest, code_digest, proven=proven
            )
            outcome, login = done.outcome, done.auth_user_id
        if login is not None:
            return await open_session(connection, login, trail=trail, keep=False)
    # The error is raised after the commit, so that a wrong code is counted.
    raise _refusal(outcome)


async def _knows_password(pool: Pool, link: str, password: str, trail: Trail) -> bool:
    known = await queries.find_sign_up(pool, None, digest(link))
    if known is None or known.state != "pending":
        return False
    await throttle(pool, "password", known.email, plain_trail(trail))
    if not await matches(known.encrypted_password, password):
        raise ForbiddenError("accounts.wrong_sign_up_password")
    return True


def _refusal(outcome: str) -> NeurantError:
    match outcome:
        case "expired":
            return GoneError("accounts.proof_expired")
        case "wrong_code":
            return BadInputError("accounts.wrong_mail_code")
        case "too_many":
            return GoneError("accounts.code_used_up")
        case "password_needed":
            return ForbiddenError("accounts.sign_up_password_needed")
        case "verified_before":
            return ConflictError("accounts.verified_before")
        case "taken":
            return ConflictError("accounts.has_account")
        case "not_verified":
            return ConflictError("accounts.not_verified_yet")
    return NotFoundError("accounts.unknown_proof")


async def _allow(connection: Connection, purpose: MailPurpose, key: str) -> None:
    seconds = await allow_mail(connection, purpose, key)
    if seconds > 0:
        raise RateLimitedError("accounts.mailed_just_now", seconds=seconds)


async def _write(
    connection: Connection,
    settings: Settings,
    email: str,
    first_name: str,
    made: _Secrets,
    language: Language,
    *,
    is_new: bool,
) -> None:
    base = settings.base_url()
    params = {"name": first_name, "link": f"{base}/verify?link={made.link}", "code": made.code}
    if not is_new:  # the person who typed the name may not own the address
        params = {"link": f"{base}/login", "reset_link": f"{base}/forgot"}
    template = "accounts.verify_email" if is_new else "accounts.already_registered"
    await queue_mail(
        connection, Vault(settings), to=email, template=template, language=language, params=params
    )
