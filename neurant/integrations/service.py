"""The encryption of an integration's secrets for its row, before they reach the database."""

from __future__ import annotations

import base64
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from neurant.core.db.pool import Connection
from neurant.core.settings import Settings
from neurant.core.vault import ensure_company_key, seal_secret
from neurant.integrations.schemas import IntegrationIn, IntegrationPatch


async def sealed_values(
    connection: Connection,
    settings: Settings,
    company_id: UUID,
    integration_id: UUID,
    given: IntegrationIn | IntegrationPatch,
) -> dict[str, Any]:
    """Return the columns that ``given`` names, with the secrets sealed for this row."""

    async def sealed(secret: str) -> str:
        data = await seal_secret(connection, settings, company_id, integration_id, secret)
        return base64.b64encode(data).decode()

    is_new = isinstance(given, IntegrationIn)
    values = given.model_dump(exclude_unset=not is_new)
    await ensure_company_key(connection, settings, company_id)
    for field, column in (
        ("api_key", "api_key_encrypted"),
        ("oauth_token", "oauth_token_encrypted"),
    ):
        if field in values:
            secret = values.pop(field)
            values[column] = await sealed(secret) if secret is not None else None
    if "config" in values:
        config = given.config.model_dump_json(exclude_none=True)
        values["config"] = Jsonb({} if config == "{}" else {"sealed": await sealed(config)})
    if "settings" in values:
        values["settings"] = Jsonb(values["settings"])
    return values
