"""Recovery of a password without revealing which addresses have an account."""

from __future__ import annotations

import asyncio

from neurant.accounts.queries import allow_mail, find_password_context
from neurant.accounts.recovery import queries
from neurant.accounts.service import plain_trail, throttle
from neurant.auth.codes import digest, new_token
from neurant.auth.passwords import check_new_password, hashed
from neurant.core.clock import monotonic
from neurant.core.db.pool import Pool
from neurant.core.db.tenancy import Trail, come_from
from neurant.core.emails import normal_email
from neurant.core.errors import GoneError, NeurantError, NotFoundError
from neurant.core.settings import Settings
from neurant.core.vault import Vault
from neurant.mail.service import queue_mail
from neurant.texts import Language

# Every answer takes this long, so that its time does not show whether there is an account. The
# work for an account takes a tenth of it.
_ANSWER_SECONDS = 0.15


async def ask(
    pool: Pool, settings: Settings, typed: str, *, trail: Trail, language: Language
) -> None:
    """Send a link to the address if it has an account; only the mailbox shows whether it has one.

    An address that was written to a moment ago gets no second mail. Raises BadInputError if the
    text is no address, and RateLimitedError if the client asks too often.
    """
    begun = monotonic()
    email, trail = normal_email(typed), plain_trail(trail)
    await throttle(pool, "reset", None, trail)
    token = new_token()
    async with pool.connection() as connection, connection.transaction():
        # A throttled address already has a valid link of the last hour (a used link resets the
        # throttle), so no mail is sent. An error instead would reveal that the address has an
        # account, and would let anybody block its mails.
        is_allowed = await allow_mail(connection, "reset", email) == 0
        await come_from(connection, trail)
        known = await queries.insert_reset(connection, email, digest(token)) if is_allowed else None
        if known is not None:
            link = f"{settings.base_url()}/reset?link={token}"
            await queue_mail(
                connection,
                Vault(settings),
                to=email,
                template="accounts.reset_password",
                language=language,
                params={"name": known.first_name or email, "link": link},
            )
    await asyncio.sleep(max(0.0, begun + _ANSWER_SECONDS - monotonic()))


async def set_password(
    pool: Pool, settings: Settings, token: str, password: str, *, trail: Trail, language: Language
) -> None:
    """Set a new password with a mailed link; every session of the person ends.

    Raises BadInputError (``accounts.weak_password``), NotFoundError for a link that we never sent,
    GoneError for a link that was used or has expired.
    """
    link = await queries.find_reset(pool, digest(token))
    if link is None or link.state != "open":
        raise refusal(link.state if link else "unknown")
    context = await find_password_context(pool, digest(token))
    check_new_password(password, link.email, context)
    password_hash = await hashed(password)
    async with pool.connection() as connection, connection.transaction():
        await come_from(connection, plain_trail(trail))
        done = await queries.finish_reset(connection, digest(token), password_hash)
        if done.outcome == "changed" and done.email is not None:
            await queue_mail(
                connection,
                Vault(settings),
                to=done.email,
                template="accounts.password_changed",
                language=language,
                params={"link": f"{settings.base_url()}/forgot"},
            )
            return
    raise refusal(done.outcome)


def refusal(outcome: str) -> NeurantError:
    """Return the error for a link that does not set a password."""
    match outcome:
        case "used":
            return GoneError("accounts.reset_used")
        case "expired":
            return GoneError("accounts.reset_expired")
    return NotFoundError("accounts.reset_unknown")
