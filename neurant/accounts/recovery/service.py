"""A forgotten password: asked for without telling who has an account, and set once."""

from __future__ import annotations

import asyncio

from neurant.accounts.queries import allow_mail, find_password_context
from neurant.accounts.recovery import queries
from neurant.accounts.service import hold_back, plain_trail
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

# Every answer takes this long: what is done for an account takes a tenth of it.
_ANSWER_SECONDS = 0.15


async def ask(
    pool: Pool, settings: Settings, typed: str, *, trail: Trail, language: Language
) -> None:
    """Write a link to the address, if it has an account; nobody but its mailbox learns whether.

    Written to a moment ago, it is not again. Raises BadInputError for what is no address, and
    RateLimitedError for who asks for too many.
    """
    begun = monotonic()
    email, trail = normal_email(typed), plain_trail(trail)
    await hold_back(pool, "reset", None, trail)
    token = new_token()
    async with pool.connection() as connection, connection.transaction():
        # Who is held back has a link of the last hour that works (a used one ends the brake): that
        # mail is the answer. Told apart, anybody could ask it away, and would learn who has one.
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
    """A new password by a mailed link; every session of the person ends.

    Raises BadInputError (``accounts.weak_password``), NotFoundError for a link that we never sent,
    GoneError for one that was used or has run out.
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
    """Why a link does not set a password."""
    match outcome:
        case "used":
            return GoneError("accounts.reset_used")
        case "expired":
            return GoneError("accounts.reset_expired")
    return NotFoundError("accounts.reset_unknown")
