"""The queries of conversations for the API, limited by the reader's policies."""

from __future__ import annotations

from typing import LiteralString
from uuid import UUID

from neurant.api.listing import Listing, Sort, fetch_page
from neurant.conversations.handoff.api_queries import open_session
from neurant.conversations.schemas import (
    ArchivedQuery,
    ConversationDetailOut,
    ConversationOut,
    ConversationQuery,
)
from neurant.core.db.pool import Connection, fetch_one, fetch_value

_COLUMNS: LiteralString = """
select c.id, c.chatbot_id, c.channel::text, c.channel_account_id,
  (select k.id from public.contacts k where k.company_id = c.company_id
    and k.channel_account_id = c.channel_account_id
    and k.end_user_id = c.end_user_id) as contact_id,
  c.end_user_id, c.end_user_name, c.status::text, c.is_hitl_active, c.assigned_operator_id,
  c.hitl_activated_at, c.hitl_reason, c.message_count, c.bot_message_count, c.human_message_count,
  c.avg_response_time_ms, c.started_at, c.last_message_at, c.ended_at, c.session_duration_minutes,
  c.satisfaction_rating"""
_DETAIL: LiteralString = (
    _COLUMNS
    + """, c.end_user_avatar, c.satisfaction_comment, c.conversation_summary,
  coalesce(c.context_data, '{}') as context_data
from public.conversations c
where c.id = %(id)s
"""
)
_ARCHIVED_DETAIL: LiteralString = _DETAIL.replace(
    "public.conversations c", "public.conversations_archived c"
)
_STARTED = Sort("c.started_at", "timestamptz", "started_at")
_LISTING = Listing(
    select=_COLUMNS.strip() + "\nfrom public.conversations c",
    sorts={
        "last_message_at": Sort(
            "c.last_message_at",
            "timestamptz",
            "last_message_at",
            ("c.last_message_slot", "date_bin('10 minutes', %(after)s::timestamptz, 'epoch')"),
        ),
        "started_at": _STARTED,
    },
    id="c.id",
)
_ARCHIVED = Listing(
    select=_COLUMNS.strip() + "\nfrom public.conversations_archived c",
    sorts={"started_at": _STARTED},
    id="c.id",
)
_FILTERS: dict[str, LiteralString] = {
    "status": "c.status = %(status)s::public.conversation_status_enum",
    "channel": "c.channel = %(channel)s::public.conversation_channel_enum",
    "chatbot_id": "c.chatbot_id = %(chatbot_id)s",
    "is_hitl_active": "c.is_hitl_active = %(is_hitl_active)s",
    "assigned_operator_id": "c.assigned_operator_id = %(assigned_operator_id)s",
    # Two scalar values instead of a join, so that the index is used.
    "contact_id": "c.channel_account_id = (select k.channel_account_id from public.contacts k"
    " where k.id = %(contact_id)s)"
    " and c.end_user_id = (select k.end_user_id from public.contacts k"
    " where k.id = %(contact_id)s)",
    "started_after": "c.started_at >= %(started_after)s",
    "started_before": "c.started_at < %(started_before)s",
    "q": "c.id = any (array(select s.conversation_id from private.search_conversations(%(q)s) s))",
}
_CLOSE = "select private.close_conversation(%s)"
_ASSIGN = "select private.assign_conversation(%s, %s)"
_EXISTS = "select true from public.conversations c where c.id = %s"
_ARCHIVED_EXISTS = "select true from public.conversations_archived c where c.id = %s"


async def list_conversations(
    connection: Connection, query: ConversationQuery
) -> tuple[list[ConversationOut], str | None]:
    """Return a page of the conversations that the caller may see, and the next cursor."""
    conditions, given = _chosen(query)
    return await fetch_page(
        connection, ConversationOut, _LISTING, query, query.sort, conditions, given
    )


async def list_archived(
    connection: Connection, query: ArchivedQuery
) -> tuple[list[ConversationOut], str | None]:
    """Return a page of the archive and the next cursor."""
    conditions, given = _chosen(query)
    return await fetch_page(
        connection, ConversationOut, _ARCHIVED, query, query.sort, conditions, given
    )


def _chosen(
    query: ConversationQuery | ArchivedQuery,
) -> tuple[list[LiteralString], dict[str, object]]:
    given = query.model_dump(include=set(_FILTERS), exclude_none=True)
    return [_FILTERS[name] for name in given], given


async def get_conversation(
    connection: Connection, conversation_id: UUID
) -> ConversationDetailOut | None:
    """Return a conversation with its open takeover; None if unknown or out of scope."""
    found = await fetch_one(connection, ConversationDetailOut, _DETAIL, {"id": conversation_id})
    if found is not None and found.is_hitl_active:
        found.hitl_session = await open_session(connection, conversation_id)
    return found


async def get_archived(
    connection: Connection, conversation_id: UUID
) -> ConversationDetailOut | None:
    """Return an archived conversation; None if it is unknown or out of scope."""
    return await fetch_one(
        connection, ConversationDetailOut, _ARCHIVED_DETAIL, {"id": conversation_id}
    )


async def is_visible(
    connection: Connection, conversation_id: UUID, *, archived: bool = False
) -> bool:
    """Return whether the caller may see the conversation."""
    statement = _ARCHIVED_EXISTS if archived else _EXISTS
    return bool(await fetch_value(connection, statement, (conversation_id,)))


async def close(connection: Connection, conversation_id: UUID) -> str:
    """Close it; return ``closed``, ``closed_before``, ``taken_by_other`` or ``not_found``."""
    return str(await fetch_value(connection, _CLOSE, (conversation_id,)))


async def assign(connection: Connection, conversation_id: UUID, user_id: UUID) -> str:
    """Assign it; return ``assigned``, ``same``, ``closed``, ``invalid_target`` or ``not_found``."""
    return str(await fetch_value(connection, _ASSIGN, (conversation_id, user_id)))
