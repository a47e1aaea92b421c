"""The webhooks' route: a small ASGI application in front of the framework, for speed.

It verifies, parses and stores an event, and answers 200 after the commit. A genuine event that is
not a message is kept raw (``inbound_events``) and acknowledged, because the channel would otherwise
send it again for ever.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from neurant.channels.events import DeadLetter
from neurant.channels.ingest import Ingestor, RejectedMessageError, set_aside
from neurant.channels.telegram import inbound as telegram
from neurant.core.db.pool import DatabaseDown, Pool, fetch_value
from neurant.core.errors import (
    MalformedError,
    NeurantError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from neurant.core.http import read_body, send_json, send_problem
from neurant.core.settings import Settings

PREFIX = "/webhooks/"
_PROVEN = "select private.prove_webhook(%s, %s)"
_TELEGRAM = re.compile(r"^/webhooks/telegram/([A-Za-z0-9_-]{8,100})$")


@dataclass(frozen=True, slots=True)
class Webhooks:
    """The webhooks' application, with the parts of the process that it needs."""

    pool: Pool
    ingestor: Ingestor
    settings: Settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one webhook."""
        try:
            await self._take(scope, receive)
        except NeurantError as error:
            await send_problem(scope, send, error)
        except DatabaseDown:
            await send_problem(scope, send, UnavailableError("database_away"))
        else:
            await send_json(send, 200, {"ok": True})

    async def _take(self, scope: Scope, receive: Receive) -> None:
        match = _TELEGRAM.match(scope["path"])
        if match is None or scope["method"] != "POST":
            raise NotFoundError("unknown_webhook")
        headers = dict(scope["headers"])
        proof = telegram.credential(headers.get(telegram.SECRET_HEADER, b""))
        body = await read_body(scope, receive, self.settings.max_webhook_bytes)
        try:
            event = telegram.parse(body, match[1], proof)
        except MalformedError:
            # Only a proven sender learns that the body is malformed.
            raise_unless_taken(await self._proven(match[1], proof))
            raise
        if isinstance(event, DeadLetter):
            outcome = await self._keep(match[1], proof, event, body)
        else:
            try:
                outcome = (await self.ingestor.put(event)).outcome
            except RejectedMessageError as error:
                kept = DeadLetter(event.external_id, str(error))
                outcome = await self._keep(match[1], proof, kept, body)
        raise_unless_taken(outcome)

    async def _proven(self, routing_id: str, proof: bytes) -> str:
        async with self.pool.connection() as connection:
            return str(await fetch_value(connection, _PROVEN, (routing_id, proof)))

    async def _keep(self, routing_id: str, proof: bytes, event: DeadLetter, body: bytes) -> str:
        return await set_aside(self.pool, routing_id, proof, event.external_id, body, event.reason)


def raise_unless_taken(outcome: str) -> None:
    """Raise NotFoundError for the outcome ``unknown``, UnauthenticatedError for ``refused``."""
    if outcome == "unknown":
        raise NotFoundError("unknown_webhook")
    if outcome == "refused":
        raise UnauthenticatedError("wrong_signature")
