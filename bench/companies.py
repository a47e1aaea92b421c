"""A company for a measurement, without a limit of its plan."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from bench.database import value


@dataclass(frozen=True)
class Company:
    """A company with an owner, one bot and its web chat, whose routing id is ``web``."""

    id: UUID
    owner: UUID
    web: str


def add_company(db: psycopg.Connection[Any], name: str) -> Company:
    """Add a company of the largest plan."""
    slug = f"{name}-{secrets.token_hex(4)}"
    company = value(
        db,
        "insert into companies (name, slug, email, subscription_plan, monthly_message_limit,"
        " max_chatbots, max_users, max_integrations, max_document_characters, max_storage_mb,"
        " max_hitl_concurrent) values (%s, %s, %s, 'enterprise', -1, -1, -1, -1, -1, -1, -1)"
        " returning id",
        name,
        slug,
        f"{slug}@bench.example",
    )
    owner = value(
        db,
        "insert into users (company_id, email, first_name, last_name, role, is_owner)"
        " values (%s, %s, 'Ana', 'Bench', 'owner', true) returning id",
        company,
        f"{slug}@bench.example",
    )
    bot = value(
        db,
        "insert into chatbots (company_id, name, system_prompt, response_delay_ms, created_by)"
        " values (%s, 'Bot', 'Responde.', 0, %s) returning id",
        company,
        owner,
    )
    db.execute(
        "insert into channel_accounts (company_id, chatbot_id, channel, routing_id, display_name)"
        " values (%s, %s, 'web', %s, 'Web')",
        (company, bot, f"web-{slug}"),
    )
    return Company(company, owner, f"web-{slug}")
