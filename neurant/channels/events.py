"""The results of every channel's inbound parser, and the cleaning of text for the database."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

MessageType = Literal["text", "image", "audio", "video", "document", "location", "contact"]
Channel = Literal["telegram", "web"]

_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """One message of an end user, as its channel delivered it.

    ``routing_id`` names the channel account. ``credential`` (32 bytes) proves the sender: it is the
    digest of the webhook's secret, or of a web visitor's token. ``external_id`` is the channel's
    own id; a redelivery is recognised by it.
    """

    routing_id: str
    channel: Channel
    credential: bytes
    end_user_id: str
    end_user_name: str | None
    external_id: str
    message_type: MessageType
    content: str
    media_url: str | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that is not a message, to be kept raw with the reason."""

    external_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ingested:
    """The outcome of an inbound message. The ids are None for ``refused`` and ``unknown``."""

    outcome: Literal["stored", "duplicate", "refused", "unknown"]
    company_id: UUID | None
    conversation_id: UUID | None
    message_id: UUID | None
    seq: int | None


def is_storable(text: str) -> bool:
    """Return whether PostgreSQL can store the text: no NUL, no lone surrogate."""
    return not _UNSTORABLE.search(text)


def storable(text: str) -> str:
    """Return the text with U+FFFD in place of characters that PostgreSQL cannot store."""
    if is_storable(text):
        return text
    return _UNSTORABLE.sub("\ufffd", text)
