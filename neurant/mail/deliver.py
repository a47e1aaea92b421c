"""The worker's part of mail: decrypt a claimed mail, render it, send it and settle its row."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.headerregistry import Address
from email.message import EmailMessage
from pathlib import Path

from psycopg_pool import PoolTimeout

from neurant.core.clock import utc_now
from neurant.core.db.pool import DatabaseDown, Pool
from neurant.core.logs import get_logger
from neurant.core.settings import Settings
from neurant.core.vault import Vault
from neurant.mail import queries
from neurant.mail.folder import mail_folder, write_mail
from neurant.mail.message import as_language, compose, sender_of
from neurant.mail.queries import LeasedMail
from neurant.mail.service import SEALED_AS
from neurant.mail.smtp import Attempt, Server, send, server_of

LEASE = timedelta(minutes=3)  # must exceed the longest attempt
MAX_CONCURRENT_MAILS = 4
_SETTLE_TRIES = 20
_MIN_SECRET_LENGTH = 4
_BETWEEN = re.compile(r"[/?#&=]")
_LINKS = re.compile(r"(?i)\b[a-z]+://\S+")

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class MailContext:
    """The dependencies of sending mail. If ``server`` is None, mail is written to ``folder``."""

    pool: Pool
    vault: Vault
    server: Server | None
    sender: Address
    folder: Path


def open_mail_context(pool: Pool, settings: Settings) -> MailContext:
    """Build the mail sender of this installation. Raises SetupError for invalid settings."""
    context = MailContext(
        pool,
        Vault(settings),
        server_of(settings),
        sender_of(settings.mail_from),
        mail_folder(settings.data_dir),
    )
    if context.server is None and not settings.demo:
        log.warning("mail_is_not_sent", folder=str(context.folder), mend="set NEURANT_SMTP_URL")
    return context


async def claim(context: MailContext, most: int) -> list[LeasedMail]:
    """Lease up to ``most`` mails."""
    return await queries.claim_mails(context.pool, most, LEASE)


async def next_due(context: MailContext) -> datetime | None:
    """Return when the next mail is due, None if none is."""
    return await queries.next_mail_due(context.pool)


async def deliver(context: MailContext, claimed: LeasedMail) -> None:
    """Send one mail and settle its row with the server's answer."""
    params: dict[str, str] = {}
    try:
        params = json.loads(
            context.vault.open(SEALED_AS, claimed.mail_id, claimed.params_encrypted)
        )
        message = compose(
            claimed.mail_id,
            claimed.to_address,
            claimed.template,
            as_language(claimed.language),
            params,
            sender=context.sender,
            moment=utc_now(),
        )
    except Exception as error:  # such as another key or other texts: retried later
        attempt = Attempt("later", f"not rendered: {type(error).__name__}")
    else:
        attempt = await _hand_over(context, claimed, message)
    told = _without_secrets(attempt.error, params) if attempt.error else None
    status = await _settle(context, claimed, attempt, told)
    if attempt.outcome == "sent":
        log.info("mail_sent", mail=str(claimed.mail_id), template=claimed.template)
    else:
        log.warning(
            "mail_not_sent",
            mail=str(claimed.mail_id),
            template=claimed.template,
            outcome=attempt.outcome,
            status=status,
            error=told,
        )


async def _hand_over(context: MailContext, claimed: LeasedMail, message: EmailMessage) -> Attempt:
    if context.server is not None:
        return await send(context.server, message, context.sender.addr_spec, claimed.to_address)
    where = (context.folder, claimed.mail_id, claimed.created_at, message)
    try:
        await asyncio.to_thread(write_mail, *where)
    except OSError as error:
        return Attempt("later", f"{type(error).__name__}: {error.strerror}")
    return Attempt("sent")


def _without_secrets(error: str, params: Mapping[str, str]) -> str:
    """Return the server's answer without the links, codes and names that it may quote."""
    error = _LINKS.sub("[link]", " ".join(error.split()))
    pieces = (piece for value in params.values() for piece in _BETWEEN.split(value))
    for secret in sorted({*params.values(), *pieces}, key=len, reverse=True):
        if len(secret) >= _MIN_SECRET_LENGTH:
            error = error.replace(secret, "[…]")
    return error[:300]


async def _settle(
    context: MailContext, claimed: LeasedMail, attempt: Attempt, told: str | None
) -> str:
    """Settle the attempt, retrying while the database is down, because a lost one sends twice."""
    for _ in range(_SETTLE_TRIES):
        try:
            return await queries.settle_mail(context.pool, claimed, attempt.outcome, told)
        except (*DatabaseDown, PoolTimeout) as error:
            log.warning("mail_not_settled", mail=str(claimed.mail_id), error=str(error))
            await asyncio.sleep(0.5)
    return "unsettled"
