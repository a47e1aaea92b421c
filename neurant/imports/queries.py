"""The storage of past conversations, in one statement for the whole request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

import orjson

from neurant.core.db.pool import Connection, fetch_all, fetch_value
from neurant.imports.schemas import ImportedConversation

_VISIBLE = "select true from public.chatbots b where b.id = %s"
_IMPORT = """
select i.place, i.outcome, i.conversation_id, i.added
from private.import_conversations(%(chatbot)s, %(external_id)s::text[], %(channel)s::text[],
  %(end_user_id)s::text[], %(end_user_name)s::text[], %(end_user_avatar)s::text[],
  %(status)s::text[], %(rating)s::integer[], %(rating_comment)s::text[], %(summary)s::text[],
  %(context)s::text[], %(of)s::integer[], %(message_id)s::text[], %(sender)s::text[],
  %(sender_id)s::uuid[], %(type)s::text[], %(content)s::text[], %(media_url)s::text[],
  %(media_type)s::text[], %(sent_at)s::timestamptz[]) i
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """The result for the conversation at ``place`` (from 1); ``outcome`` is the database's code."""

    place: int
    outcome: Literal[
        "imported",
        "extended",
        "unchanged",
        "repeated",
        "no_channel",
        "erased",
        "other_contact",
        "repeated_message",
        "in_the_future",
        "out_of_order",
        "unknown_sender",
        "empty_text",
        "archived",
        "too_early",
    ]
    conversation_id: UUID | None
    added: int


async def is_visible(connection: Connection, chatbot_id: UUID) -> bool:
    """Return whether the caller may see the bot."""
    return bool(await fetch_value(connection, _VISIBLE, (chatbot_id,)))


async def import_conversations(
    connection: Connection, chatbot_id: UUID, conversations: Sequence[ImportedConversation]
) -> list[Stored]:
    """Store the conversations, each completely or not at all."""
    said = [
        (place, message) for place, one in enumerate(conversations, 1) for message in one.messages
    ]
    given = {
        "chatbot": chatbot_id,
        "external_id": [one.external_id for one in conversations],
        "channel": [one.channel for one in conversations],
        "end_user_id": [one.end_user_id for one in conversations],
        "end_user_name": [one.end_user_name for one in conversations],
        "end_user_avatar": [one.end_user_avatar for one in conversations],
        "status": [one.status for one in conversations],
        "rating": [one.satisfaction_rating for one in conversations],
        "rating_comment": [one.satisfaction_comment for one in conversations],
        "summary": [one.summary for one in conversations],
        "context": [orjson.dumps(one.context).decode() for one in conversations],
        "of": [place for place, _ in said],
        "message_id": [message.external_id for _, message in said],
        "sender": [message.sender for _, message in said],
        "sender_id": [message.sender_id for _, message in said],
        "type": [message.type for _, message in said],
        "content": [message.content for _, message in said],
        "media_url": [message.media_url for _, message in said],
        "media_type": [message.media_type for _, message in said],
        "sent_at": [message.sent_at for _, message in said],
    }
    return await fetch_all(connection, Stored, _IMPORT, given)
