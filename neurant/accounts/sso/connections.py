"""A company's connections to identity providers: creation, changes and tests."""

from __future__ import annotations

import asyncio
import re
from typing import Any
from uuid import UUID, uuid4

import psycopg
from pydantic import SecretStr

from neurant.accounts.sso.provider import Providers
from neurant.accounts.sso.queries import (
    SsoConnection,
    delete_connection,
    delete_identity,
    find_connection,
    insert_connection,
    set_domains,
    update_connection,
)
from neurant.accounts.sso.schemas import SsoCheckOut, SsoConnectionNew, SsoConnectionPatch
from neurant.accounts.sso.service import domain_of
from neurant.auth.identity_http import ProviderError, ask_json
from neurant.auth.jwks import read_keys
from neurant.core.db.pool import Connection
from neurant.core.errors import (
    BadInputError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    UnavailableError,
)
from neurant.core.outbound_http import may_ask, private_hosts_of
from neurant.core.settings import Settings
from neurant.core.vault import ensure_company_key, seal_secret
from neurant.texts import Language

# The same rule as the table's check: at least two labels, and the last one is not a number.
_DOMAIN = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?[.])+[a-z0-9-]{2,63}")


async def create(
    connection: Connection, settings: Settings, company_id: UUID, new: SsoConnectionNew
) -> SsoConnection:
    """Create a connection, in the owner's transaction.

    Raises BadInputError (issuer, domains), ConflictError (the connection exists; a domain is
    taken).
    """
    if not may_ask(new.issuer, private_hosts_of(settings)):
        raise BadInputError("sso.provider_insecure", url=new.issuer)
    connection_id = uuid4()
    secret = await _sealed(connection, settings, company_id, connection_id, new.client_secret)
    try:
        await insert_connection(
            connection,
            (
                company_id, connection_id, new.name, new.issuer, new.client_id, secret,
                new.default_role, new.is_enforced, new.is_active,
            ),
        )  # fmt: skip
    except psycopg.errors.UniqueViolation:
        raise ConflictError("sso.connection_exists") from None
    await _set_domains(connection, connection_id, new.domains)
    return await read(connection, connection_id)


async def read(
    connection: Connection, connection_id: UUID, *, locked: bool = False
) -> SsoConnection:
    """Return one of the company's connections. Raises NotFoundError."""
    found = await find_connection(connection, connection_id, locked=locked)
    if found is None:
        raise NotFoundError("not_found")
    return found


async def change(
    connection: Connection,
    settings: Settings,
    company_id: UUID,
    connection_id: UUID,
    patch: SsoConnectionPatch,
) -> SsoConnection:
    """Change the given fields, in the owner's transaction. Raises the errors of ``create``."""
    changes: dict[str, Any] = patch.model_dump(
        exclude_unset=True, exclude={"client_secret", "domains"}
    )
    if "client_secret" in patch.model_fields_set:
        changes["client_secret_encrypted"] = await _sealed(
            connection, settings, company_id, connection_id, patch.client_secret
        )
    try:
        await update_connection(connection, connection_id, changes)
    except psycopg.errors.UniqueViolation:
        raise ConflictError("sso.connection_exists") from None
    if "domains" in patch.model_fields_set:
        await _set_domains(connection, connection_id, patch.domains)
    return await read(connection, connection_id)


async def _sealed(
    connection: Connection,
    settings: Settings,
    company_id: UUID,
    connection_id: UUID,
    secret: SecretStr | None,
) -> bytes | None:
    if secret is None:
        return None
    await ensure_company_key(connection, settings, company_id)
    plain = secret.get_secret_value()
    return await seal_secret(connection, settings, company_id, connection_id, plain)


async def remove(connection: Connection, connection_id: UUID) -> None:
    """Delete the connection and end the sessions that it opened. Raises NotFoundError."""
    if not await delete_connection(connection, connection_id):
        raise NotFoundError("not_found")


async def unlink(connection: Connection, connection_id: UUID, user_id: UUID) -> None:
    """Delete a user's link to the provider, so that another subject can be linked to the user.

    The user's sessions by this provider end. Raises NotFoundError.
    """
    if not await delete_identity(connection, connection_id, user_id):
        raise NotFoundError("not_found")


async def _set_domains(connection: Connection, connection_id: UUID, domains: list[str]) -> None:
    refused = await set_domains(connection, connection_id, [normal_domain(one) for one in domains])
    for one in refused:
        if one.outcome == "taken":
            raise ConflictError("sso.domain_taken", domain=one.domain)
        if one.outcome == "public":
            raise ConflictError("sso.domain_public", domain=one.domain)
        if one.outcome == "too_many":
            raise ConflictError("sso.too_many_domains")
        raise ForbiddenError("api.not_permitted", permission="sso.manage")


def normal_domain(typed: str) -> str:
    """Return a domain in the form of addresses: ASCII (IDNA), lower case. Raises BadInputError."""
    try:
        found = domain_of(f"x@{typed.strip().removeprefix('@')}")
    except BadInputError:
        found = ""
    if not _DOMAIN.fullmatch(found):
        raise BadInputError("sso.bad_domain", domain=typed[:100])
    return found


_checking = asyncio.Semaphore(2)


async def check_connection(
    providers: Providers, issuer: str, language: Language
) -> list[SsoCheckOut]:
    """Fetch a provider's discovery document and keys again; stop at the first step that fails.

    The caller holds no database connection meanwhile. At most two checks run at a time in a
    process, because the provider may take seconds to answer. Raises UnavailableError
    (``sso.check_busy``) when two are running.
    """
    if _checking.locked():
        raise UnavailableError("sso.check_busy")
    async with _checking:
        return await _checked(providers, issuer, language)


async def _checked(providers: Providers, issuer: str, language: Language) -> list[SsoCheckOut]:
    try:
        provider = await providers.find(issuer, anew=True)
    except ProviderError as error:
        return [SsoCheckOut(step="discovery", is_ok=False, detail=error.detail(language))]
    steps = [SsoCheckOut(step="discovery", is_ok=True, detail=None)]
    try:
        keys = read_keys(await ask_json(providers.client, provider.jwks_uri))
        if not keys.keys:
            raise ProviderError("sso.provider_unsuitable", url=provider.jwks_uri)
    except ProviderError as error:
        return [*steps, SsoCheckOut(step="keys", is_ok=False, detail=error.detail(language))]
    return [*steps, SsoCheckOut(step="keys", is_ok=True, detail=None)]
