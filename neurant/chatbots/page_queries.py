"""Queries for the pages of bots that the API does not need: cards with channels, and
possible assignees.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from neurant.core.db.pool import Connection, fetch_all, fetch_one

_CARDS = """
select b.id, b.name, b.description, b.avatar_url, b.is_active, b.working_hours <> '{}' as has_hours,
  b.total_conversations, b.total_messages, b.avg_response_time_ms, b.satisfaction_score,
  coalesce((
    select jsonb_agg(jsonb_build_object('channel', a.channel, 'status', a.status)
      order by a.created_at)
    from public.channel_accounts a
    where a.company_id = b.company_id and a.chatbot_id = b.id and a.status <> 'disconnected'), '[]')
    as accounts
from public.chatbots b
where b.retired_at is null
order by b.name
limit 200
"""
_PEOPLE = """
select u.id, u.first_name, u.last_name, u.role::text
from public.users u
where u.is_active and u.role in ('supervisor', 'operador')
order by u.first_name, u.last_name, u.id
limit 500
"""

# Names come from the directory: an operador does not read the rows of others.
_MAKER = """
select nullif(trim(d.first_name || ' ' || d.last_name), '') as name, b.created_at as at
from public.chatbots b
left join private.team_directory() d on d.user_id = b.created_by
where b.id = %s
"""
_ASSIGNMENTS = """
select a.user_id, nullif(trim(d.first_name || ' ' || d.last_name), '') as assigned_by, a.assigned_at
from (
  select o.chatbot_id, o.operator_id as user_id, o.assigned_by, o.assigned_at
  from public.chatbot_operators o where o.is_active
  union all
  select s.chatbot_id, s.supervisor_id, s.assigned_by, s.assigned_at
  from public.chatbot_supervisors s) a
left join private.team_directory() d on d.user_id = a.assigned_by
where a.chatbot_id = %s
"""


@dataclass(frozen=True, slots=True)
class Maker:
    """The person who made a bot, and when.

    ``name`` is None for a person who left or whom the reader may not see.
    """

    name: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Assignment:
    """The assignment of a person to a bot.

    ``assigned_by`` is None for a person who left or whom the reader may not see.
    """

    user_id: UUID
    assigned_by: str | None
    assigned_at: datetime


@dataclass(frozen=True, slots=True)
class Card:
    """A bot on the page of bots."""

    id: UUID
    name: str
    description: str | None
    avatar_url: str | None
    is_active: bool
    has_hours: bool
    total_conversations: int
    total_messages: int
    avg_response_time_ms: int | None
    satisfaction_score: Decimal | None
    accounts: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Colleague:
    """A person who may serve a bot or be in charge of it."""

    id: UUID
    first_name: str
    last_name: str
    role: str

    @property
    def name(self) -> str:
        """First and last name."""
        return f"{self.first_name} {self.last_name}".strip()


async def list_cards(connection: Connection) -> list[Card]:
    """Return the reader's bots, by name."""
    return await fetch_all(connection, Card, _CARDS)


async def list_colleagues(connection: Connection) -> list[Colleague]:
    """Return the supervisors and operadores whom the reader may assign."""
    return await fetch_all(connection, Colleague, _PEOPLE)


async def get_maker(connection: Connection, chatbot_id: UUID) -> Maker | None:
    """Return the maker of the bot, or None for a bot that the caller may not read."""
    return await fetch_one(connection, Maker, _MAKER, (chatbot_id,))


async def list_assignments(connection: Connection, chatbot_id: UUID) -> dict[UUID, Assignment]:
    """The assignments of the bot's operadores and its supervisor, by the person's id."""
    found = await fetch_all(connection, Assignment, _ASSIGNMENTS, (chatbot_id,))
    return {one.user_id: one for one in found}
