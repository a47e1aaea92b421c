"""The queries of the inbox: the list, one conversation with its messages, a customer's history.

All of them run as the staff member under RLS, so each returns only that person's conversations.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from neurant.core.db.pool import Connection, fetch_all, fetch_one, fetch_value

MAX_WAITING = 200
MAX_RECENT = 60
MAX_MESSAGES = 200
_MAX_PAST = 20

# Two subqueries with one index each: conversations with an open takeover, and the newest others.
_WAITING = """
   where c.is_hitl_active
     and %(filter)s in ('all', 'queue', 'mine')
     and (%(filter)s <> 'queue' or c.assigned_operator_id is null)
     and (%(filter)s <> 'mine' or c.assigned_operator_id = (select private.user_id()))
   order by c.hitl_activated_at
   limit %(most_waiting)s
"""
_RECENT = """
   where not c.is_hitl_active
     and %(filter)s in ('all', 'resolved')
     and (%(filter)s <> 'resolved' or c.status <> 'active'
       or exists (select from public.hitl_sessions s
         where s.company_id = c.company_id and s.conversation_id = c.id))
   order by c.last_message_slot desc, c.last_message_at desc, c.id desc
   limit %(most_recent)s + 1
"""
_LISTED = """
select c.id, c.end_user_id, c.end_user_name, c.channel::text, c.status::text, c.is_hitl_active,
  c.assigned_operator_id, c.assigned_operator_id = (select private.user_id()) as is_mine,
  private.operator_name(c.assigned_operator_id) as operator,
  c.hitl_activated_at, c.hitl_reason, c.last_message_at,
  m.text as last_text, m.sender as last_sender, m.is_mine as last_is_mine,
  (select line.content from public.messages line
    where line.company_id = c.company_id and line.conversation_id = c.id and line.seq = c.last_seq
      and line.sender_type = 'system') as last_line
from chosen
join public.conversations c on c.company_id = chosen.company_id and c.id = chosen.id
left join lateral (
  select left(said.content, 200) as text, said.sender_type::text as sender,
    said.sender_id = (select private.user_id()) as is_mine
  from public.messages said
  where said.company_id = c.company_id and said.conversation_id = c.id
    -- For a conversation in the queue, the customer's last message, because it awaits an answer.
    and (said.sender_type = 'end_user' or said.sender_type <> 'system'
      and not (c.is_hitl_active and c.assigned_operator_id is null))
  order by said.seq desc
  limit 1) m on true
order by c.hitl_activated_at nulls last, c.last_message_at desc, c.id desc
"""
_ANY = "(select c.company_id, c.id from public.conversations c"
_LIST: LiteralString = f"with chosen as ({_ANY} {_WAITING}) union all {_ANY} {_RECENT})) {_LISTED}"
# The search returns ids only; the rows are read under the reader's own policies.
_FOUND = """(select c.company_id, c.id
   from found f
   join public.conversations c
     on c.company_id = (select private.company_id()) and c.id = f.conversation_id"""
_SEARCH: LiteralString = f"""
with found as materialized (
  select s.conversation_id from private.search_conversations(%(words)s) s
),
chosen as ({_FOUND} {_WAITING}) union all {_FOUND} {_RECENT}))
{_LISTED}"""  # noqa: S608 - put together from literals only
_COUNTS = """
select count(*) filter (where c.assigned_operator_id is null) as queue,
  count(*) filter (where c.assigned_operator_id = (select private.user_id())) as mine
from public.conversations c
where c.is_hitl_active
"""
_CONVERSATION = """
select c.id, c.end_user_id, c.end_user_name, c.channel::text, c.status::text, c.is_hitl_active,
  c.assigned_operator_id, c.assigned_operator_id = (select private.user_id()) as is_mine,
  private.operator_name(c.assigned_operator_id) as operator,
  c.hitl_activated_at, c.hitl_reason, c.started_at, c.message_count,
  (select b.name from public.chatbots b
    where b.company_id = c.company_id and b.id = c.chatbot_id) as bot_name,
  coalesce((select x.first_seen_at from public.contacts x
    where x.company_id = c.company_id and x.channel_account_id = c.channel_account_id
      and x.end_user_id = c.end_user_id), c.started_at) as first_contact_at, c.context_data,
  exists (select from public.reply_requests r
    where r.company_id = c.company_id and r.conversation_id = c.id) as is_reply_owed,
  k.timezone
from public.conversations c
join public.companies k on k.id = c.company_id
where c.id = %s
"""
_MESSAGES = """
select m.id, m.seq, m.content, m.message_type::text as type, m.sender_type::text as sender,
  m.sender_id = (select private.user_id()) as is_mine,
  private.operator_name(m.sender_id) as sender_name, m.status::text, m.knowledge_sources,
  m.confidence_score::float as confidence, m.explanation, m.created_at, o.last_error
from public.messages m
left join public.outbox o on o.company_id = m.company_id and o.message_id = m.id
where m.conversation_id = %s
order by m.seq desc
limit %s
"""
_SESSIONS = """
select s.status, s.reason, s.reason_detail, s.opened_at, s.taken_at, s.resolution_notes,
  private.operator_name(s.operator_id) as operator
from public.hitl_sessions s
where s.conversation_id = %s
order by s.opened_at desc
limit %s
"""
# A conversation and its dependent rows are either all in the live tables or all archived.
_ARCHIVED_CONVERSATION: LiteralString = _CONVERSATION.replace(
    "from public.conversations c\n", "from public.conversations_archived c\n"
)
_ARCHIVED_MESSAGES: LiteralString = _MESSAGES.replace(
    "public.messages m", "public.messages_archived m"
).replace("public.outbox o", "public.outbox_archived o")
_ARCHIVED_SESSIONS: LiteralString = _SESSIONS.replace(
    "public.hitl_sessions s", "public.hitl_sessions_archived s"
)
_PAST_OF: LiteralString = """
select past.id, past.channel::text, past.status::text, past.started_at,
  coalesce((select left(m.content, 80) from public.messages m
    where m.company_id = past.company_id and m.conversation_id = past.id
      and m.sender_type = 'end_user'
    order by m.seq limit 1), '…') as first_words
from me
join public.conversations past on past.company_id = me.company_id
  and past.channel_account_id = me.channel_account_id and past.end_user_id = me.end_user_id
  and past.id <> me.id
"""
_ARCHIVED_PAST_OF: LiteralString = _PAST_OF.replace(
    "public.conversations past", "public.conversations_archived past"
).replace("public.messages m", "public.messages_archived m")
_PAST: LiteralString = f"""
with me as (
  select c.company_id, c.id, c.channel_account_id, c.end_user_id
  from public.conversations c where c.id = %(id)s
  union all
  select c.company_id, c.id, c.channel_account_id, c.end_user_id
  from public.conversations_archived c where c.id = %(id)s
)
{_PAST_OF}
union all
{_ARCHIVED_PAST_OF}
order by started_at desc
limit %(most)s
"""  # noqa: S608 - put together from literals only
_COMPANY_TIMEZONE = "select k.timezone from public.companies k"
_RESTORE = "select private.restore_conversation(%s)"


@dataclass(frozen=True, slots=True)
class ListedConversation:
    """A row of the inbox's list."""

    id: UUID
    end_user_id: str
    end_user_name: str | None
    channel: str
    status: str
    is_hitl_active: bool
    assigned_operator_id: UUID | None
    is_mine: bool | None
    operator: str | None
    hitl_activated_at: datetime | None
    hitl_reason: str | None
    last_message_at: datetime
    last_text: str | None
    last_sender: str | None
    last_is_mine: bool | None
    last_line: str | None


@dataclass(frozen=True, slots=True)
class Counts:
    """The number of conversations that wait for a person and that the reader attends."""

    queue: int
    mine: int


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as the page header and the customer panel show it."""

    id: UUID
    end_user_id: str
    end_user_name: str | None
    channel: str
    status: str
    is_hitl_active: bool
    assigned_operator_id: UUID | None
    is_mine: bool | None
    operator: str | None
    hitl_activated_at: datetime | None
    hitl_reason: str | None
    started_at: datetime
    message_count: int
    bot_name: str | None
    first_contact_at: datetime
    context_data: dict[str, Any] | None
    is_reply_owed: bool
    timezone: str


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message with the state of its delivery."""

    id: UUID
    seq: int
    content: str
    type: str
    sender: str
    is_mine: bool | None
    sender_name: str | None
    status: str
    knowledge_sources: list[dict[str, Any]] | None
    confidence: float | None
    explanation: dict[str, Any] | None
    created_at: datetime
    last_error: str | None


@dataclass(frozen=True, slots=True)
class HitlSession:
    """A takeover of a conversation."""

    status: str
    reason: str
    reason_detail: str | None
    opened_at: datetime
    taken_at: datetime | None
    resolution_notes: str | None
    operator: str | None


@dataclass(frozen=True, slots=True)
class PastConversation:
    """Another conversation of the same customer."""

    id: UUID
    channel: str
    status: str
    started_at: datetime
    first_words: str


@dataclass(frozen=True, slots=True)
class _Zone:
    timezone: str


async def list_conversations(
    connection: Connection, filter_name: str, words: str
) -> list[ListedConversation]:
    """Return the waiting conversations, then the rest, newest first.

    If there are more than fit, one row more than shown is returned. ``words`` is the text of the
    search box, whose last word may be incomplete.
    """
    parameters = {
        "filter": filter_name,
        "words": words,
        "most_waiting": MAX_WAITING,
        "most_recent": MAX_RECENT,
    }
    query = _SEARCH if words else _LIST
    return await fetch_all(connection, ListedConversation, query, parameters)


async def count_conversations(connection: Connection) -> Counts:
    """Return the counts that the filters show."""
    return await fetch_one(connection, Counts, _COUNTS) or Counts(0, 0)


async def find_conversation(connection: Connection, conversation_id: UUID) -> Conversation | None:
    """Return a live or archived conversation; None if it is unknown or out of scope."""
    for query in (_CONVERSATION, _ARCHIVED_CONVERSATION):
        found = await fetch_one(connection, Conversation, query, (conversation_id,))
        if found:
            return found
    return None


async def newest_messages(connection: Connection, conversation_id: UUID) -> list[StoredMessage]:
    """Return the last messages, the oldest first."""
    parameters = (conversation_id, MAX_MESSAGES)
    live = await fetch_all(connection, StoredMessage, _MESSAGES, parameters)
    rows = live or await fetch_all(connection, StoredMessage, _ARCHIVED_MESSAGES, parameters)
    return rows[::-1]


async def hitl_sessions(connection: Connection, conversation_id: UUID) -> list[HitlSession]:
    """Return the takeovers of a conversation, the newest first."""
    parameters = (conversation_id, _MAX_PAST)
    live = await fetch_all(connection, HitlSession, _SESSIONS, parameters)
    return live or await fetch_all(connection, HitlSession, _ARCHIVED_SESSIONS, parameters)


async def other_conversations(
    connection: Connection, conversation_id: UUID
) -> list[PastConversation]:
    """Return the same customer's other conversations on this channel, the newest first.

    Archived conversations are included.
    """
    parameters = {"id": conversation_id, "most": _MAX_PAST}
    return await fetch_all(connection, PastConversation, _PAST, parameters)


async def company_timezone(connection: Connection) -> str:
    """Return the company's time zone, in which times are shown."""
    zone = await fetch_one(connection, _Zone, _COMPANY_TIMEZONE)
    return zone.timezone if zone else "UTC"


async def restore_conversation(connection: Connection, conversation_id: UUID) -> str:
    """Restore an archived one; return ``restored``, ``not_found`` or ``in_conflict``."""
    return str(await fetch_value(connection, _RESTORE, (conversation_id,)))
