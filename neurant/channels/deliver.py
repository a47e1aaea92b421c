"""The delivery of the outbox: each message is sent once, in order, or its failure is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import httpx

from neurant.channels.telegram import outbound as telegram
from neurant.channels.telegram.outbound import Delivery
from neurant.conversations.system_lines import system_text
from neurant.core.db.pool import Connection, DatabaseDown, Pool, fetch_all, fetch_one, fetch_value
from neurant.core.db.tenancy import Worker, tenant
from neurant.core.errors import NeurantError, SetupError
from neurant.core.logs import get_logger
from neurant.core.realtime import Hub
from neurant.core.settings import Settings
from neurant.core.vault import open_secret
from neurant.texts import Language, text

LEASE = timedelta(seconds=30)  # longer than the client's time-out for one message
_RETRY_SECONDS = (1.0, 5.0, 30.0, 120.0, 600.0)
_SETTLE_TRIES = 20

_CLAIM = """
select company_id, outbox_id, conversation_id, claim_token, outcome
from private.claim_outbox(%s, %s)
"""
_LOAD = """
select o.attempts, m.sender_type, m.content, c.end_user_id, c.channel, a.id as account_id,
  a.secrets_encrypted, u.first_name as sender_name, b.personality_traits ->> 'language' as language,
  m.knowledge_sources
from public.outbox o
join public.messages m on m.company_id = o.company_id and m.id = o.message_id
join public.conversations c on c.company_id = o.company_id and c.id = o.conversation_id
join public.chatbots b on b.company_id = c.company_id and b.id = c.chatbot_id
join public.channel_accounts a on a.company_id = o.company_id and a.id = o.channel_account_id
left join public.users u on u.company_id = m.company_id and u.id = m.sender_id
where o.id = %s
"""
_FINISH = "select private.finish_delivery(%s, %s, %s, %s, %s, %s)"

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LeasedMessage:
    """A leased outbox row: to be sent (``sending``), or settled by the lease query itself."""

    company_id: UUID
    outbox_id: UUID
    conversation_id: UUID
    claim_token: UUID | None
    outcome: Literal["sending", "unknown", "cancelled"]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The values that sending one message needs."""

    attempts: int
    sender_type: str
    content: str
    end_user_id: str
    channel: str
    account_id: UUID
    secrets_encrypted: bytes | None
    sender_name: str | None
    language: str | None
    knowledge_sources: list[dict[str, Any]] | None

    def as_text(self) -> str:
        """Return the end user's text: a system line in words, or a quote with its source."""
        language: Language = "en" if self.language == "en" else "es"
        if self.sender_type == "system":
            return system_text(self.content, language, self.sender_name or "")
        if self.knowledge_sources:
            return _cited(self.content, self.knowledge_sources, language)
        return self.content


def _cited(answer: str, sources: Sequence[dict[str, Any]], language: Language) -> str:
    """Return an answer with the names of its documents, and with its page if it has one only."""
    documents = dict.fromkeys(str(source["document"]) for source in sources)
    if len(documents) > 1:
        names = ", ".join(text("replies.document", language, document=name) for name in documents)
        return text("replies.cited_several", language, documents=names, quote=answer)
    pages = {source.get("page") for source in sources}
    page = pages.pop() if len(pages) == 1 else None
    cited = "cited_with_page" if page else "cited"
    return text(
        f"replies.{cited}", language, document=sources[0]["document"], page=page, quote=answer
    )


@dataclass(frozen=True, slots=True)
class DeliveryContext:
    """The parts of the process that delivery needs."""

    pool: Pool
    hub: Hub
    settings: Settings
    client: httpx.AsyncClient


async def claim(context: DeliveryContext, limit: int) -> list[LeasedMessage]:
    """Lease up to ``limit`` messages; announce and log those that the query settled itself."""
    async with context.pool.connection() as connection:
        claimed = await fetch_all(connection, LeasedMessage, _CLAIM, (limit, LEASE))
    for one in claimed:
        if one.outcome != "sending":
            context.hub.announce(one.company_id, one.conversation_id)
            log.warning("not_sent", outbox=str(one.outbox_id), outcome=one.outcome)
    return [one for one in claimed if one.outcome == "sending"]


async def next_due(context: DeliveryContext) -> datetime | None:
    """Return when the next message is due, by the database's clock; None: no message waits."""
    async with context.pool.connection() as connection:
        due = await fetch_value(connection, "select private.next_delivery_due()")
    return due if isinstance(due, datetime) else None


async def deliver(context: DeliveryContext, claimed: LeasedMessage) -> None:
    """Send one message and settle its row with the channel's answer."""
    attempts, delivery = await _attempt(context, claimed)
    await _settle(context, claimed, _bounded(delivery, attempts))
    context.hub.announce(claimed.company_id, claimed.conversation_id)
    context.hub.announce_work()


async def _attempt(context: DeliveryContext, claimed: LeasedMessage) -> tuple[int, Delivery]:
    """Return the number of attempts including this one, and the result of this attempt."""
    attempts = 1
    try:
        async with tenant(context.pool, Worker(claimed.company_id)) as connection:
            outgoing = await fetch_one(connection, Outgoing, _LOAD, (claimed.outbox_id,))
            if outgoing is None:  # the company was closed after the lease
                return attempts, Delivery("failed", error="not_readable")
            attempts = outgoing.attempts
            token = await _token(context, connection, claimed, outgoing)
    except DatabaseDown as error:  # nothing has been sent yet
        return attempts, Delivery("retry", error=f"database_away: {type(error).__name__}")
    except NeurantError as error:
        return attempts, Delivery("failed", error=error.code)
    delivery = await telegram.send(
        context.client,
        context.settings.telegram_api_url,
        token,
        outgoing.end_user_id,
        outgoing.as_text(),
    )
    return attempts, delivery


async def _token(
    context: DeliveryContext, connection: Connection, claimed: LeasedMessage, outgoing: Outgoing
) -> str:
    """Return the bot's token.

    Raises NeurantError when none was stored, or another master key encrypted it.
    """
    if not outgoing.secrets_encrypted:
        raise SetupError("company_key_missing")
    return await open_secret(
        connection,
        context.settings,
        claimed.company_id,
        outgoing.account_id,
        outgoing.secrets_encrypted,
    )


def _bounded(delivery: Delivery, attempts: int) -> Delivery:
    """Add the waiting time to a retry, or make it a failure after the last attempt."""
    if delivery.outcome != "retry":
        return delivery
    if attempts > len(_RETRY_SECONDS):
        return Delivery("failed", error=delivery.error)
    wait = delivery.retry_in or _RETRY_SECONDS[attempts - 1]
    return Delivery("retry", error=delivery.error, retry_in=wait)


async def _settle(context: DeliveryContext, claimed: LeasedMessage, delivery: Delivery) -> None:
    """Write the outcome, and retry while the database is unavailable: the message was sent."""
    parameters = (
        claimed.outbox_id,
        claimed.claim_token,
        delivery.outcome,
        delivery.external_id,
        delivery.error,
        timedelta(seconds=delivery.retry_in) if delivery.retry_in is not None else None,
    )
    for attempt in range(1, _SETTLE_TRIES + 1):
        try:
            async with tenant(context.pool, Worker(claimed.company_id)) as connection:
                await connection.execute(_FINISH, parameters)
            return
        except DatabaseDown:
            if attempt == _SETTLE_TRIES:
                raise
            await asyncio.sleep(min(0.1 * attempt, 1.0))
