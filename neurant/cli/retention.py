"""The commands ``neurant archive`` and ``neurant company erase``."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import obstore
import psycopg
from obstore.store import ObjectStore

from neurant.cli.company_lookup import database_urls, find_owner
from neurant.conversations.queries import restore_conversation
from neurant.core.db.connection import connect
from neurant.core.db.pool import command_pool, make_pool, require_url
from neurant.core.db.tenancy import tenant
from neurant.core.errors import ConflictError, NotFoundError, SetupError
from neurant.core.object_store import open_store
from neurant.core.settings import Settings
from neurant.retention import queries
from neurant.retention.jobs import run_archiving

_MAX_LISTED = 100
_NOT_CLOSED = "NA004"


async def archive_now(settings: Settings) -> int:
    """Archive conversations that are old enough, for all companies; return how many."""
    url = require_url(settings.jobs_database_url, "NEURANT_JOBS_DATABASE_URL")
    async with make_pool(url, size=1, pooled=False) as pool:
        return await run_archiving(pool)


async def list_archived(
    settings: Settings, company: str | None
) -> list[queries.ArchivedConversation]:
    """Return the newest archived conversations of the company, as its owner sees them."""
    urls = database_urls(settings)
    owner = await find_owner(urls.admin, company)
    async with command_pool(urls.app) as pool, tenant(pool, owner) as connection:
        return await queries.archived_conversations(connection, _MAX_LISTED)


async def restore(settings: Settings, conversation_id: UUID, company: str | None) -> None:
    """Restore a conversation as the company's owner. Raises NotFoundError, ConflictError."""
    urls = database_urls(settings)
    owner = await find_owner(urls.admin, company)
    async with command_pool(urls.app) as pool, tenant(pool, owner) as connection:
        outcome = await restore_conversation(connection, conversation_id)
    if outcome == "in_conflict":
        raise ConflictError("retention.archived_in_conflict", conversation=conversation_id)
    if outcome != "restored":
        raise NotFoundError("retention.archived_not_found", conversation=conversation_id)


async def erase_company(
    settings: Settings, slug: str, *, force: bool, on_progress: Callable[[int], None]
) -> int:
    """Erase a company that has been closed for 30 days, or any with ``force``.

    Returns how many rows were deleted. If it is interrupted, the same command continues. Raises
    SetupError.
    """
    store = open_store(settings)
    deleted = 0
    admin = database_urls(settings).admin
    async with await connect(admin, autocommit=True) as connection:
        company_id = await queries.find_company(connection, slug)
        if company_id is None:
            raise SetupError("unknown_company", company=slug)
        try:
            while some := await queries.erase_company_batch(connection, company_id, force):
                # Not before the first batch, which refuses a company that is not closed.
                await _delete_files(store, company_id)
                deleted += some
                on_progress(deleted)
        except psycopg.Error as error:
            if error.sqlstate == _NOT_CLOSED:
                raise SetupError("retention.company_not_closed", company=slug) from None
            raise
    return deleted


async def _delete_files(store: ObjectStore, company_id: UUID) -> None:
    async for found in obstore.list(store, prefix=f"{company_id}/"):
        await obstore.delete_async(store, [one["path"] for one in found])
