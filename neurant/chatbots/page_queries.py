"""Queries for the pages of bots that the API does not need: cards with channels, and
possible assignees.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

from neurant.core.db.pool import Connection, fetch_all

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
