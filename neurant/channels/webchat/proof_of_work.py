"""The proof of work that is required to open a chat session during a flood.

The idea is Hashcash's (http://www.hashcash.org/papers/hashcash.pdf): the browser searches numbers
whose SHA-256 together with our challenge begins with zero bits. That takes a phone about a second,
and the check takes a few hashes. The challenge is stateless: it carries the chat, the address and
its expiry, signed under the master key. The database remembers which challenges were used.

There are several small searches instead of a large one, because their sum varies less: few people
wait long.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson
from pydantic import BaseModel, ConfigDict, Field

from neurant.auth.codes import keyed_digest
from neurant.core.clock import utc_now
from neurant.core.errors import BadInputError, RateLimitedError
from neurant.core.settings import Settings

SEARCHES = 8
BITS = 15  # per search: 8 * 2^15 hashes on average; a phone does some 300,000 a second
LIFETIME = timedelta(minutes=5)
_LARGEST = 2**53 - 1  # the largest integer that JavaScript counts exactly


class ProofIn(BaseModel):
    """The solution of a challenge: one number for each search."""

    model_config = ConfigDict(extra="forbid")

    challenge: str = Field(max_length=1000, description="Text of the challenge, as it was received")
    numbers: list[int] = Field(
        min_length=SEARCHES,
        max_length=SEARCHES,
        description="The number that solves each search, in order",
    )


@dataclass(frozen=True, slots=True)
class ProofOfWork:
    """A verified solution: the digest that identifies its challenge, and the challenge's expiry."""

    digest: bytes
    expires_at: datetime


class ProofNeededError(RateLimitedError):
    """The refusal of a session that needs a proof of work; the route adds the ``challenge``."""

    def __init__(self, challenge: dict[str, object] | None = None) -> None:
        super().__init__("visitors.proof_needed", seconds=0)
        self.members = {"proof": challenge} if challenge else {}


def make_challenge(settings: Settings, routing_id: str, address: str) -> dict[str, object]:
    """Return a new challenge for this chat and address, as a browser receives it."""
    expires_at = int((utc_now() + LIFETIME).timestamp())
    body = orjson.dumps([routing_id, address, expires_at, secrets.token_hex(12)])
    signature = _signature(settings, body)
    challenge = ".".join(base64.urlsafe_b64encode(part).decode() for part in (body, signature))
    return {"challenge": challenge, "searches": SEARCHES, "bits": BITS}


def check_proof(settings: Settings, given: ProofIn, routing_id: str, address: str) -> ProofOfWork:
    """Verify a solution for this chat and address.

    Raises BadInputError for one that is wrong, expired, or made for another chat or address.
    """
    wrong = BadInputError("visitors.proof_wrong")
    body, _, signature = given.challenge.partition(".")
    try:
        read = base64.urlsafe_b64decode(body)
        signed = base64.urlsafe_b64decode(signature)
    except ValueError:
        raise wrong from None
    if not hmac.compare_digest(signed, _signature(settings, read)):
        raise wrong
    chat, place, expires_at, _ = orjson.loads(read)
    end = datetime.fromtimestamp(expires_at, UTC)
    if (chat, place) != (routing_id, address) or end <= utc_now():
        raise wrong
    solved = (
        0 <= number <= _LARGEST and is_solution(given.challenge, index, number, BITS)
        for index, number in enumerate(given.numbers)
    )
    if not all(solved):
        raise wrong
    return ProofOfWork(hashlib.sha256(read).digest(), end)


def is_solution(challenge: str, index: int, number: int, bits: int) -> bool:
    """Return whether the SHA-256 of ``challenge:index:number`` begins with ``bits`` zero bits."""
    found = hashlib.sha256(f"{challenge}:{index}:{number}".encode()).digest()
    return int.from_bytes(found, "big") >> (256 - bits) == 0


def _signature(settings: Settings, body: bytes) -> bytes:
    return keyed_digest(settings, "visitor challenge", body, "")
