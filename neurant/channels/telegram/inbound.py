"""The Telegram Bot API's webhook: verifying and parsing an Update.

https://core.telegram.org/bots/api#setwebhook: the header X-Telegram-Bot-Api-Secret-Token carries
the secret that we gave at setWebhook. https://core.telegram.org/bots/api#update: ``update_id`` is
unique per bot; ``message_id`` is unique in its chat.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from neurant.channels.events import DeadLetter, InboundMessage, MessageType, storable
from neurant.core.body_bounds import check_members
from neurant.core.errors import BadInputError, MalformedError
from neurant.core.names import without_hidden

SECRET_HEADER = b"x-telegram-bot-api-secret-token"

# The errors of parsing a hostile body: each becomes an answer of ours instead of a fault.
_BROKEN = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
_GROUPS = ("group", "supergroup")
_MAX_NAME = 255
_MEDIA: tuple[tuple[str, MessageType], ...] = (
    ("photo", "image"),
    ("sticker", "image"),
    ("voice", "audio"),
    ("audio", "audio"),
    ("video", "video"),
    ("video_note", "video"),
    ("animation", "video"),
    ("document", "document"),
)


def credential(secret: bytes) -> bytes:
    """Return the SHA-256 of the secret header's value, which the database compares."""
    return hashlib.sha256(secret).digest()


def parse(body: bytes, routing_id: str, proof: bytes) -> InboundMessage | DeadLetter:
    """Parse one Update. Raises MalformedError for a body that no Bot API server sends."""
    try:
        check_members(body)
    except BadInputError:
        raise MalformedError("not_a_telegram_update") from None
    try:
        update = orjson.loads(body)
    except orjson.JSONDecodeError:
        update = _loads_with_surrogates(body)
    if not isinstance(update, dict):
        raise MalformedError("not_a_telegram_update")
    try:
        update_id = _number(update["update_id"])
        message = update.get("message")
        if not isinstance(message, dict):
            kind = next((key for key in update if key != "update_id"), "empty")
            return DeadLetter(f"update:{update_id}", storable(f"unsupported: {kind}"[:200]))
        return _read_message(message, update_id, routing_id, proof)
    except _BROKEN:
        raise MalformedError("not_a_telegram_update") from None


def _number(value: Any) -> int:
    """Return an id (at most 52 significant bits at Telegram). Raises TypeError otherwise."""
    if type(value) is not int or abs(value) >= 2**63:
        raise TypeError("not an id")
    return value


def _words(value: Any) -> str:
    """Return a text that the database can store, "" for None. Raises TypeError for another type."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError("not a text")
    return storable(value)


def _degrees(value: Any, most: int) -> float:
    """Return a coordinate. Raises TypeError for another type, ValueError if it is out of range."""
    if type(value) not in (int, float):
        raise TypeError("not a coordinate")
    if not -most <= value <= most:  # false for NaN, and exact for an integer of any length
        raise ValueError("not on the Earth")
    return float(value)


def _no_number(name: str) -> Any:
    """Refuse NaN and Infinity, which Python's parser accepts though JSON has none (RFC 8259, 6)."""
    raise ValueError(f"{name} is not JSON")


def _loads_with_surrogates(body: bytes) -> Any:
    """Parse JSON that escapes half a surrogate pair, which orjson refuses.

    The text is cleaned later.
    """
    import json

    try:
        return json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise MalformedError("not_a_telegram_update") from None


def _read_message(
    message: dict[str, Any], update_id: int, routing_id: str, proof: bytes
) -> InboundMessage | DeadLetter:
    chat, sender = message["chat"], message.get("from") or {}
    if sender.get("is_bot"):
        return DeadLetter(f"update:{update_id}", "sent by a bot")
    if chat.get("type") in _GROUPS and not _is_addressed(message):
        return DeadLetter(f"update:{update_id}", "said in a group, and not to the bot")
    content = _content(message)
    if content is None:
        return DeadLetter(f"update:{update_id}", "unsupported: message without content")
    message_type, text, media = content
    name = " ".join(filter(None, (_words(sender.get(k)) for k in ("first_name", "last_name"))))
    chat_id = _number(chat["id"])
    return InboundMessage(
        routing_id=routing_id,
        channel="telegram",
        credential=proof,
        end_user_id=str(chat_id),
        # The name is a label, not content, so it may be cut to the column's length.
        end_user_name=without_hidden(_words(chat.get("title")) or name)[:_MAX_NAME] or None,
        external_id=f"{chat_id}:{_number(message['message_id'])}",
        message_type=message_type,
        content=text,
        media_url=media,
    )


def _is_addressed(message: dict[str, Any]) -> bool:
    """Return whether a group's message addresses a bot: a command, a mention, a reply to a bot."""
    marks = [*(message.get("entities") or ()), *(message.get("caption_entities") or ())]
    replied = message.get("reply_to_message") or {}
    return any(mark["type"] in ("mention", "bot_command") for mark in marks) or bool(
        (replied.get("from") or {}).get("is_bot")
    )


def _content(message: dict[str, Any]) -> tuple[MessageType, str, str | None] | None:
    """Return type, text and file reference of a message; None for an unsupported kind."""
    if isinstance(message.get("text"), str) and message["text"]:
        return "text", _words(message["text"]), None
    for key, message_type in _MEDIA:
        if found := message.get(key):
            file = found[-1] if isinstance(found, list) else found  # photos: the largest is last
            caption = message.get("caption") or (file.get("emoji") if key == "sticker" else None)
            file_id = _words(file["file_id"])
            return message_type, _words(caption), f"telegram-file:{file_id}"
    if location := message.get("location"):
        latitude = _degrees(location["latitude"], 90)
        longitude = _degrees(location["longitude"], 180)
        return "location", f"{latitude}, {longitude}", None
    if contact := message.get("contact"):
        names = (_words(contact.get(key)) for key in ("first_name", "last_name"))
        return "contact", " ".join(filter(None, (*names, _words(contact["phone_number"])))), None
    return None
