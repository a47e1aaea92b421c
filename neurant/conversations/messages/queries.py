"""The queries of messages and reactions, limited by the reader's policies."""

from __future__ import annotations

from typing import LiteralString
from uuid import UUID

from neurant.api.listing import Listing, Sort, fetch_page
from neurant.conversations.explanation import Explanation
from neurant.conversations.messages.schemas import (
    MessageDetailOut,
    MessageOut,
    MessageQuery,
    ReactionIn,
    ReactionOut,
    ReactionQuery,
)
from neurant.core.db.pool import Connection, fetch_one, fetch_value

_COLUMNS: LiteralString = """
select m.id, m.conversation_id, m.chatbot_id, m.seq, m.sender_type::text, m.sender_id,
  m.message_type::text, m.content, m.media_url, m.media_type, m.status::text, m.delivered_at,
  m.read_at, coalesce(m.knowledge_sources, '[]') as knowledge_sources,
  coalesce(m.used_knowledge_base, false) as used_knowledge_base, m.confidence_score,
  m.processing_time_ms, m.tokens_used, m.model_used, m.created_at"""
_ONE: LiteralString = (
    _COLUMNS
    + """, o.last_error as delivery_error
from public.messages m
left join public.outbox o on o.company_id = m.company_id and o.message_id = m.id
where m.id = %(id)s
"""
)
_EXPLANATION = """
select m.explanation from public.messages m where m.id = %(id)s
union all
select m.explanation from public.messages_archived m where m.id = %(id)s
"""
_SEQ = Sort("m.seq", "bigint", "seq")
_LISTING = Listing(
    select=_COLUMNS.strip() + "\nfrom public.messages m", sorts={"seq": _SEQ}, id="m.id"
)
_ARCHIVED = Listing(
    select=_COLUMNS.strip() + "\nfrom public.messages_archived m", sorts={"seq": _SEQ}, id="m.id"
)
_OF: LiteralString = "m.conversation_id = %(conversation_id)s"
_REACTIONS = Listing(
    select="""select r.id, r.message_id, r.reaction_type::text, r.comment, r.reacted_by_user_id,
  r.reacted_by_end_user, r.created_at
from public.message_reactions r""",
    sorts={"created_at": Sort("r.created_at", "timestamptz", "created_at")},
    id="r.id",
)
# Without the lock, two concurrent reactions of one person would both be stored.
_ONE_AT_A_TIME = "select pg_advisory_xact_lock(hashtextextended(%(who)s || ' ' || %(message)s, 0))"
_FORGET = """
delete from public.message_reactions r
where r.message_id = %(message)s and r.reacted_by_user_id = (select private.user_id())
"""
_REACT = """
insert into public.message_reactions (company_id, message_id, reaction_type, comment)
values ((select private.company_id('conversations.reply')), %(message)s, %(reaction_type)s,
  %(comment)s)
returning id, message_id, reaction_type::text, comment, reacted_by_user_id, reacted_by_end_user,
  created_at
"""
_MINE = """
select r.id, r.message_id, r.reaction_type::text, r.comment, r.reacted_by_user_id,
  r.reacted_by_end_user, r.created_at
from public.message_reactions r
where r.message_id = %(message)s and r.reacted_by_user_id = (select private.user_id())
"""
_CONVERSATION_OF = "select m.conversation_id from public.messages m where m.id = %s"


async def list_messages(
    connection: Connection, conversation_id: UUID, query: MessageQuery, *, archived: bool = False
) -> tuple[list[MessageOut], str | None]:
    """Return a page of a conversation's messages and the next cursor."""
    listing, given = _ARCHIVED if archived else _LISTING, {"conversation_id": conversation_id}
    return await fetch_page(connection, MessageOut, listing, query, query.sort, [_OF], given)


async def get_message(connection: Connection, message_id: UUID) -> MessageDetailOut | None:
    """Return one message of a live conversation; None if it is unknown or out of scope."""
    return await fetch_one(connection, MessageDetailOut, _ONE, {"id": message_id})


async def get_explanation(connection: Connection, message_id: UUID) -> Explanation | None:
    """Return why the bot wrote a message, live or archived; None if there is no explanation."""
    found = await fetch_value(connection, _EXPLANATION, {"id": message_id})
    return Explanation.model_validate(found) if found else None


async def list_reactions(
    connection: Connection, message_id: UUID, query: ReactionQuery
) -> tuple[list[ReactionOut], str | None]:
    """Return a page of the reactions to a message and the next cursor."""
    conditions: list[LiteralString] = ["r.message_id = %(message)s"]
    given = {"message": message_id}
    return await fetch_page(
        connection, ReactionOut, _REACTIONS, query, query.sort, conditions, given
    )


async def react(
    connection: Connection, user_id: UUID, message_id: UUID, reaction: ReactionIn
) -> ReactionOut | None:
    """Store the caller's reaction in place of an earlier one and return it."""
    given = {"message": message_id, **reaction.model_dump()}
    await connection.execute(_ONE_AT_A_TIME, {"who": str(user_id), "message": str(message_id)})
    mine = await fetch_one(connection, ReactionOut, _MINE, given)
    if mine and (mine.reaction_type, mine.comment) == (reaction.reaction_type, reaction.comment):
        return mine
    await connection.execute(_FORGET, given)
    return await fetch_one(connection, ReactionOut, _REACT, given)


async def forget_reaction(connection: Connection, message_id: UUID) -> None:
    """Delete the caller's reaction to a message, if there is one."""
    await connection.execute(_FORGET, {"message": message_id})
