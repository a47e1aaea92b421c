"""Queries for the templates of bots, a catalogue that every company reads."""

from __future__ import annotations

from typing import LiteralString
from uuid import UUID

from neurant.api.listing import Listing, Sort, fetch_page
from neurant.chatbots.schemas import TemplateOut, TemplateQuery
from neurant.core.db.pool import Connection, fetch_one

_COLUMNS = """
select t.id, t.name, t.description, t.industry, t.category, t.system_prompt_template,
  t.default_personality, t.recommended_settings, t.example_conversations, t.usage_count,
  t.is_featured
from public.chatbot_templates t
"""
_LISTING = Listing(
    select=_COLUMNS.strip(),
    sorts={
        "name": Sort("t.name", "text", "name"),
        "usage_count": Sort("t.usage_count", "integer", "usage_count"),
    },
    id="t.id",
)
_ONE = _COLUMNS + "where t.is_active and t.id = %s"


async def list_templates(
    connection: Connection, query: TemplateQuery
) -> tuple[list[TemplateOut], str | None]:
    """Return a page of the templates that are offered."""
    conditions: list[LiteralString] = ["t.is_active"]
    if query.industry is not None:
        conditions.append("t.industry = %(industry)s")
    if query.category is not None:
        conditions.append("t.category = %(category)s")
    if query.is_featured is not None:
        conditions.append("t.is_featured = %(is_featured)s")
    chosen = query.model_dump(include={"industry", "category", "is_featured"})
    return await fetch_page(
        connection, TemplateOut, _LISTING, query, query.sort, conditions, chosen
    )


async def get_template(connection: Connection, template_id: UUID) -> TemplateOut | None:
    """Return a template that is offered."""
    return await fetch_one(connection, TemplateOut, _ONE, (template_id,))
