"""Sending through the Telegram Bot API (https://core.telegram.org/bots/api#sendmessage)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

import httpx

MAX_CHARACTERS = 4096  # of one sendMessage, after entities parsing
MAX_SECONDS = 25.0  # for a whole text, however slowly the answers arrive
TIMEOUT = httpx.Timeout(10, connect=5)
_RETRY_AFTER_LIMIT = 600.0
_RETRY_AFTER_DEFAULT = 5.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """The channel's answer for one message.

    ``unknown``: the request was sent and no answer came. Telegram has no idempotency key, so
    another attempt could deliver the message twice.
    """

    outcome: Literal["sent", "failed", "unknown", "retry"]
    external_id: str | None = None
    error: str | None = None
    retry_in: float | None = None


def split(text: str) -> list[str]:
    """Return the text in pieces that Telegram accepts, cut at a line or a space if possible.

    No piece is blank, because Telegram refuses those: a blank text has no pieces.
    """
    pieces: list[str] = []
    text = text.strip()  # as Telegram does
    while len(text) > MAX_CHARACTERS:
        cut = max(text.rfind("\n", 0, MAX_CHARACTERS), text.rfind(" ", 0, MAX_CHARACTERS))
        cut = cut if cut > MAX_CHARACTERS // 2 else MAX_CHARACTERS
        pieces.append(text[:cut].rstrip())
        text = text[cut:].lstrip()
    return [*pieces, text] if text else pieces


async def send(
    client: httpx.AsyncClient,
    api_url: str,
    token: str,
    chat_id: str,
    text: str,
    most_seconds: float = MAX_SECONDS,
) -> Delivery:
    """Send one text; a long one in several messages, of which the last one's id is returned.

    Never takes longer than ``most_seconds``, so that the lease on the message does not end
    meanwhile.
    """
    arrived = 0
    delivery = Delivery("failed", error="nothing to send")
    try:
        async with asyncio.timeout(most_seconds):
            for piece in split(text):
                delivery = await _send_piece(client, api_url, token, chat_id, piece)
                if delivery.outcome != "sent":
                    break
                arrived += 1
    except TimeoutError:
        delivery = Delivery("unknown", error="no answer: TimeoutError")
    if arrived and delivery.outcome != "sent":  # incomplete, and another attempt would repeat parts
        return Delivery("unknown", error=f"only {arrived} part(s) arrived: {delivery.error}")
    return delivery


async def _send_piece(
    client: httpx.AsyncClient, api_url: str, token: str, chat_id: str, text: str
) -> Delivery:
    url = f"{api_url.rstrip('/')}/bot{token}/sendMessage"
    try:
        response = await client.post(url, json={"chat_id": chat_id, "text": text})
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        return Delivery("retry", error=f"no connection: {type(error).__name__}")
    except httpx.HTTPError as error:
        return Delivery("unknown", error=f"no answer: {type(error).__name__}")
    return _judge(response)


def _judge(response: httpx.Response) -> Delivery:
    """Translate a response; one that cannot be parsed says nothing about the message."""
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        answer = {}
    if response.status_code == 200:
        try:
            result = answer["result"]
            identity = f"{int(result['chat']['id'])}:{int(result['message_id'])}"
        except (KeyError, TypeError, ValueError):
            return Delivery("unknown", error="200 with an answer that is not the Bot API's")
        return Delivery("sent", external_id=identity)
    error = f"{response.status_code}: {answer.get('description', response.reason_phrase)}"
    if response.status_code == 429:
        return Delivery("retry", error=error, retry_in=_retry_after(answer))
    if response.status_code == 504:  # a gateway gave up; the server behind it may have sent
        return Delivery("unknown", error=error)
    if response.status_code >= 500:
        return Delivery("retry", error=error)
    return Delivery("failed", error=error)


def _retry_after(answer: dict[str, Any]) -> float:
    try:
        return min(max(float(answer["parameters"]["retry_after"]), 0.0), _RETRY_AFTER_LIMIT)
    except (KeyError, TypeError, ValueError):
        return _RETRY_AFTER_DEFAULT
