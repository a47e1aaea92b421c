"""The SQL of language models: the settings, the month's use, and its count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from neurant.core.db.pool import Connection, fetch_all, fetch_one
from neurant.language_models.model import Use
from neurant.language_models.schemas import ModelUsageOut

_MODEL = "select * from private.language_model(%s)"
_SETTINGS = """
select m.base_url, m.model, m.has_api_key, m.timeout_seconds, m.max_tokens, m.monthly_tokens,
  m.monthly_cost, m.input_price, m.output_price, m.currency, m.is_active, m.updated_at
from public.language_models m
"""
_USAGE = """
select u.month, u.is_platform, u.model, u.calls, u.fallbacks, u.input_tokens, u.output_tokens,
  u.cost, u.currency
from public.language_model_usage u
order by u.month desc, u.is_platform, u.model, u.currency
limit 100
"""
_SAVE = """
insert into public.language_models (company_id, base_url, model, api_key_encrypted,
  timeout_seconds, max_tokens, monthly_tokens, monthly_cost, input_price, output_price, currency,
  is_active)
values (%(company_id)s, %(base_url)s, %(model)s, %(api_key)s, %(timeout_seconds)s, %(max_tokens)s,
  %(monthly_tokens)s, %(monthly_cost)s, %(input_price)s, %(output_price)s, %(currency)s,
  %(is_active)s)
on conflict (company_id) do update
set base_url = excluded.base_url, model = excluded.model,
  timeout_seconds = excluded.timeout_seconds, max_tokens = excluded.max_tokens,
  monthly_tokens = excluded.monthly_tokens, monthly_cost = excluded.monthly_cost,
  input_price = excluded.input_price, output_price = excluded.output_price,
  currency = excluded.currency, is_active = excluded.is_active
"""
_SAVE_KEY = """
update public.language_models m set api_key_encrypted = %s
where m.company_id = (select private.company_id('language_models.manage'))
"""
_DELETE = """
delete from public.language_models m
where m.company_id = (select private.company_id('language_models.manage'))
"""
_COUNT = "select private.count_language_model(%s, %s, %s, %s, %s, %s, %s, %s)"


@dataclass(frozen=True, slots=True)
class ModelRow:
    """The company's model as a call needs it; the columns of the model are null without a row."""

    company_id: UUID
    is_configured: bool
    is_active: bool
    base_url: str | None
    model: str | None
    api_key_encrypted: bytes | None
    wrapped_key: bytes | None
    timeout_seconds: int | None
    max_tokens: int | None
    monthly_tokens: int | None
    monthly_cost: Decimal | None
    input_price: Decimal | None
    output_price: Decimal | None
    currency: str | None
    used_tokens: int
    used_cost: Decimal


@dataclass(frozen=True, slots=True)
class SettingsRow:
    """The settings that a member of the staff may read."""

    base_url: str | None
    model: str | None
    has_api_key: bool
    timeout_seconds: int
    max_tokens: int
    monthly_tokens: int | None
    monthly_cost: Decimal | None
    input_price: Decimal
    output_price: Decimal
    currency: str
    is_active: bool
    updated_at: datetime


async def read_model(connection: Connection, platform_currency: str) -> ModelRow | None:
    """Return the caller's company with its model; None for a caller without a company."""
    return await fetch_one(connection, ModelRow, _MODEL, (platform_currency,))


async def read_settings(connection: Connection) -> SettingsRow | None:
    """Return the company's own settings, if it has any that the caller may read."""
    return await fetch_one(connection, SettingsRow, _SETTINGS)


async def list_usage(connection: Connection) -> list[ModelUsageOut]:
    """Return the company's use by month and model, newest first."""
    return await fetch_all(connection, ModelUsageOut, _USAGE)


async def save_settings(connection: Connection, values: Mapping[str, Any]) -> None:
    """Store the settings; a stored key stays unless the address changes."""
    await connection.execute(_SAVE, values)


async def save_key(connection: Connection, sealed: bytes | None) -> None:
    """Store the sealed key, or delete it."""
    await connection.execute(_SAVE_KEY, (sealed,))


async def delete_settings(connection: Connection) -> bool:
    """Delete the company's own settings; False if there were none that the caller may delete."""
    return bool((await connection.execute(_DELETE)).rowcount)


async def count_use(connection: Connection, use: Use) -> None:
    """Add to the month's use, in the caller's transaction."""
    await connection.execute(
        _COUNT,
        (
            use.is_platform,
            use.model,
            use.currency,
            use.calls,
            use.input_tokens,
            use.output_tokens,
            use.cost,
            use.fallbacks,
        ),
    )
