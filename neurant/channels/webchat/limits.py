"""The limits on what visitors do: per address, network, session, bot and company.

The database holds the limits (``private.visitor_limits``) and their usage, for all web processes
together. A process asks once for each action of a visitor. It remembers refusals until they end and
repeats them without asking, so that a flood from one place costs the database little.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NoReturn
from uuid import UUID

from neurant.channels.webchat.proof_of_work import ProofNeededError, ProofOfWork
from neurant.core.client_address import Place
from neurant.core.clock import monotonic
from neurant.core.db.pool import Pool, fetch_one
from neurant.core.errors import BadInputError, NotFoundError, RateLimitedError
from neurant.core.logs import get_logger
from neurant.core.turns import Turns

Action = Literal["message", "opinion"]
CHARACTERS_PER_COST = 400  # added to a cost of 1 for the message itself
_MAX_HELD = 20_000
_LOG_EVERY = 60.0  # seconds between two warnings about one action and dimension

_OPEN = """
select outcome, expires_at, held_by, wait_seconds, held_for
from private.open_visitor(%s, %s, %s, %s, %s, %s, %s)
"""
_ADMIT = """
select outcome, held_by, wait_seconds, held_for, company_id
from private.admit_visitor(%s, %s, %s, %s, %s, %s)
"""
_CODES = {
    "open": "visitors.too_many_chats",
    "listen": "visitors.too_many_streams",
    "full": "visitors.full",
    "share": "visitors.share",
}

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Opened:
    outcome: Literal["opened", "proof_used", "wait", "proof", "unknown"]
    expires_at: datetime | None
    held_by: str | None
    wait_seconds: float
    held_for: float


@dataclass(frozen=True, slots=True)
class _Admitted:
    outcome: Literal["taken", "wait", "proof", "unknown", "share", "full"]
    held_by: str | None
    wait_seconds: float
    held_for: float
    company_id: UUID | None


@dataclass(frozen=True, slots=True)
class Doing:
    """An action's context: the address, the chat, and the session if there is one."""

    place: Place
    routing_id: str
    token_digest: bytes | None = None

    def values(self) -> Iterable[tuple[str, str]]:
        """Yield the dimensions that this process knows by itself, with the value of each."""
        yield "address", self.place.address
        yield "network", self.place.network
        if self.token_digest is not None:
            yield "session", self.token_digest.hex()
        yield "bot", self.routing_id
        yield "company", self.routing_id  # this process knows the company only by its chat


class Held:
    """The refusals that still hold; for these a process need not ask the database."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, str, str], float] = {}
        self._logged: dict[tuple[str, str], float] = {}

    def wait(self, action: str, doing: Doing) -> float:
        """Return the seconds for which the action is certainly refused; 0: ask the database."""
        now = monotonic()
        untils = (self._until.get((action, *value), 0.0) for value in doing.values())
        return max(0.0, *(until - now for until in untils))

    def remember(self, action: str, doing: Doing, held_by: str | None, seconds: float) -> None:
        """Remember a refusal by the database for ``seconds``, and log it at most once a minute."""
        value = dict(doing.values()).get(held_by or "")
        if held_by is None or value is None:
            return
        now = monotonic()
        if seconds > 0:
            if len(self._until) >= _MAX_HELD:  # dropping them costs one more query for each
                self._until.clear()
            self._until[action, held_by, value] = now + seconds
        if now - self._logged.get((action, held_by), -_LOG_EVERY) >= _LOG_EVERY:
            self._logged[action, held_by] = now
            log.warning(
                "visitors_held_back",
                action=action,
                by=held_by,
                network=doing.place.network,
                chat=doing.routing_id,
            )


class VisitorLimits:
    """The limits, as one web process asks for them.

    ``pool`` serves the visitors' limits only. ``turns`` are the places of the pool, for which the
    chats wait in turn.
    """

    def __init__(self, pool: Pool, turns: Turns) -> None:
        self._pool = pool
        self._turns = turns
        self.held = Held()

    async def open(
        self, doing: Doing, token_digest: bytes, lifetime: timedelta, proof: ProofOfWork | None
    ) -> datetime:
        """Open a session and return its end.

        Raises RateLimitedError, ProofNeededError (a proof of work is required), BadInputError (the
        proof was used before), NotFoundError (no such chat).
        """
        if (wait := self.held.wait("open", doing)) > 0:
            refuse("open", wait)
        if proof is None and self.held.wait("proof", doing) > 0:
            raise ProofNeededError
        parameters = (
            doing.routing_id,
            token_digest,
            lifetime,
            doing.place.address,
            doing.place.network,
            proof.digest if proof else None,
            proof.expires_at if proof else None,
        )
        async with self._turns.of(doing.routing_id), self._pool.connection() as connection:
            done = await fetch_one(connection, _Opened, _OPEN, parameters)
        assert done is not None  # noqa: S101 - the function answers with one row
        if done.outcome == "wait":
            self.held.remember("open", doing, done.held_by, done.held_for)
            refuse("open", done.wait_seconds)
        if done.outcome == "proof":
            self.held.remember("proof", doing, done.held_by, done.held_for)
            raise ProofNeededError
        if done.outcome == "proof_used":
            raise BadInputError("visitors.proof_used")
        if done.expires_at is None:
            raise NotFoundError("unknown_chat")
        return done.expires_at

    async def admit(self, action: Action, doing: Doing, characters: int = 0) -> None:
        """Count an action that writes something.

        Raises RateLimitedError where the visitor must wait, the address or network has used its
        share, or the company accepts no more new conversations in this hour. An unknown session is
        counted for its address only; the query for the session refuses it later.
        """
        if (wait := self.held.wait("message", doing)) > 0:
            refuse("message", wait)
        cost = 1 + characters / CHARACTERS_PER_COST
        place = doing.place
        parameters = (
            *(action, doing.routing_id, doing.token_digest, cost),
            *(place.address, place.network),
        )
        async with self._turns.of(doing.routing_id), self._pool.connection() as connection:
            done = await fetch_one(connection, _Admitted, _ADMIT, parameters)
        assert done is not None  # noqa: S101 - the function answers with one row
        if done.outcome == "wait":
            self.held.remember("message", doing, done.held_by, done.held_for)
            refuse("message", done.wait_seconds)
        if done.outcome == "share":
            # Not remembered: the address may still write to other companies, and to a person.
            self.held.remember("share", doing, done.held_by, seconds=0)
        if done.outcome in ("full", "share"):
            refuse(done.outcome, done.wait_seconds)


def refuse(action: str, wait: float) -> NoReturn:
    """Raise the RateLimitedError of an action. ``wait``: seconds until it is possible."""
    code = _CODES.get(action, "visitors.too_much_written")
    raise RateLimitedError(code, seconds=max(math.ceil(wait), 1))
