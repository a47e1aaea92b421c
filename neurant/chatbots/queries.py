"""Queries for bots; the policies decide who sees and changes which bots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, LiteralString
from uuid import UUID

from psycopg.types.json import Jsonb

from neurant.api.listing import Listing, Sort, fetch_page
from neurant.chatbots.schemas import ChatbotOut, ChatbotQuery
from neurant.core.db.pool import Connection, fetch_one, fetch_value, set_clause

_COLUMNS = """
select b.id, b.name, b.description, b.avatar_url, b.system_prompt, b.personality_traits,
  b.response_delay_ms, b.max_context_messages, b.fallback_message, b.is_active, b.working_hours,
  b.timezone, b.hitl_enabled, b.hitl_triggers, b.hitl_trigger_keywords,
  b.auto_escalate_after_minutes, b.channels, b.template_id, b.total_conversations,
  b.total_messages, b.avg_response_time_ms, b.satisfaction_score, b.created_at, b.updated_at,
  b.retired_at
from public.chatbots b
"""
_LISTING = Listing(
    select=_COLUMNS.strip(),
    sorts={
        "name": Sort("b.name", "text", "name"),
        "created_at": Sort("b.created_at", "timestamptz", "created_at"),
    },
    id="b.id",
)
_ONE = _COLUMNS + "where b.id = %(id)s"
_LOCKED = _ONE + " for update of b"
# Given values take precedence over the template's recommendations, and those over the defaults.
_INSERT = """
with base as (
  select c.id as company_id, c.name as company_name, c.timezone, t.id as template_id,
    t.system_prompt_template, t.description,
    coalesce(c.phone, c.website, c.email) as contact,
    coalesce(t.recommended_settings, '{}') || %(given)s as chosen,
    coalesce(t.default_personality, '{}') || %(traits)s as traits
  from public.companies c
  left join public.chatbot_templates t on t.id = %(template_id)s and t.is_active
  where c.id = (select private.company_id('chatbots.edit'))
    and (%(template_id)s::uuid is null or t.id is not null)
),
named as (
  select base.*, coalesce(chosen ->> 'name', %(free_name)s) as name
  from base
)
insert into public.chatbots (company_id, name, description, avatar_url, system_prompt,
  personality_traits, response_delay_ms, max_context_messages, fallback_message, is_active,
  working_hours, timezone, hitl_enabled, hitl_triggers, hitl_trigger_keywords,
  auto_escalate_after_minutes, template_id, created_by)
select company_id, name,
  case when chosen ? 'description' then chosen ->> 'description' else description end,
  chosen ->> 'avatar_url',
  coalesce(chosen ->> 'system_prompt', left(private.fill_template(system_prompt_template,
    jsonb_build_object('company_name', company_name,
      'persona', coalesce(traits ->> 'persona', name),
      'knowledge', 'los documentos de ' || company_name, 'contact', contact)
    || %(placeholders)s), 5000)),
  jsonb_strip_nulls(traits), coalesce((chosen ->> 'response_delay_ms')::integer, 1000),
  coalesce((chosen ->> 'max_context_messages')::integer, 10),
  case when chosen ? 'fallback_message' then chosen ->> 'fallback_message'
    else 'No puedo ayudarte con eso. ¿Te gustaría hablar con un operador?' end,
  coalesce((chosen ->> 'is_active')::boolean, true), coalesce(chosen -> 'working_hours', '{}'),
  coalesce(chosen ->> 'timezone', timezone), coalesce((chosen ->> 'hitl_enabled')::boolean, true),
  coalesce(chosen -> 'hitl_triggers', '["no_answer", "user_request", "keywords"]'),
  array(select jsonb_array_elements_text(coalesce(chosen -> 'hitl_trigger_keywords', '[]'))),
  coalesce((chosen ->> 'auto_escalate_after_minutes')::integer, 5),
  template_id, (select private.user_id())
from named
returning id
"""
_FREE_NAME = """
select w.name
from (
  select left('Asistente ' || c.name, 250) || case n when 1 then '' else ' ' || n end as name, n
  from public.companies c, generate_series(1, 1000) n
) w
where not exists (
  select from public.chatbots b where b.retired_at is null and b.name = w.name)
order by w.n
limit 1
"""
_UPDATE = "update public.chatbots set "
_EDITABLE: tuple[LiteralString, ...] = (
    "name",
    "description",
    "avatar_url",
    "system_prompt",
    "personality_traits",
    "response_delay_ms",
    "max_context_messages",
    "fallback_message",
    "is_active",
    "working_hours",
    "timezone",
    "hitl_enabled",
    "hitl_triggers",
    "hitl_trigger_keywords",
    "auto_escalate_after_minutes",
)
_JSON = ("personality_traits", "working_hours", "hitl_triggers")


async def list_chatbots(
    connection: Connection, query: ChatbotQuery
) -> tuple[list[ChatbotOut], str | None]:
    """Return a page of the bots that the caller may see."""
    conditions: list[LiteralString] = ["(b.retired_at is not null) = %(is_retired)s"]
    if query.is_active is not None:
        conditions.append("b.is_active = %(is_active)s")
    return await fetch_page(
        connection,
        ChatbotOut,
        _LISTING,
        query,
        query.sort,
        conditions,
        {"is_retired": query.is_retired, "is_active": query.is_active},
    )


async def get_chatbot(
    connection: Connection, chatbot_id: UUID, *, locked: bool = False
) -> ChatbotOut | None:
    """Return a bot that the caller may see; ``locked`` locks its row until the transaction ends."""
    return await fetch_one(connection, ChatbotOut, _LOCKED if locked else _ONE, {"id": chatbot_id})


async def free_name(connection: Connection) -> str:
    """Return a free name for the company's next bot: the company's name, with a number if
    needed.
    """
    return str(await fetch_value(connection, _FREE_NAME))


async def insert_chatbot(
    connection: Connection,
    given: Mapping[str, Any],
    traits: Mapping[str, Any],
    template_id: UUID | None,
    placeholders: Mapping[str, str],
) -> UUID | None:
    """Insert a bot and return its id; None if the template does not exist."""
    made = await fetch_value(
        connection,
        _INSERT,
        {
            "given": Jsonb(dict(given)),
            "traits": Jsonb(dict(traits)),
            "free_name": None if "name" in given else await free_name(connection),
            "template_id": template_id,
            "placeholders": Jsonb(dict(placeholders)),
        },
    )
    return made if isinstance(made, UUID) else None


async def update_chatbot(
    connection: Connection, chatbot_id: UUID, changes: Mapping[str, Any]
) -> bool:
    """Change the given settings; return False if the caller may not change the bot."""
    values = {name: Jsonb(value) if name in _JSON else value for name, value in changes.items()}
    statement = _UPDATE + set_clause(_EDITABLE, changes) + " where id = %(id)s"
    cursor = await connection.execute(statement, {**values, "id": chatbot_id})
    return cursor.rowcount == 1


async def retire_chatbot(connection: Connection, chatbot_id: UUID) -> bool:
    """Retire a bot for good; return False if there is none to retire."""
    outcome = await fetch_value(connection, "select private.retire_chatbot(%s)", (chatbot_id,))
    return outcome == "retired"
