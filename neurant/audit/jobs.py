"""The periodic work of the worker for the audit: sealing rows and exporting signed chain heads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from obstore.store import ObjectStore

from neurant.audit.chain_heads import open_heads, signing_key, write_heads
from neurant.audit.queries import note_export, seal_some, unexported_heads
from neurant.core.db.pool import Pool
from neurant.core.errors import SetupError
from neurant.core.logs import get_logger
from neurant.core.settings import Settings

_ROWS = 1_000  # sealed in one transaction
_HEADS = 1_000  # in one object

log = get_logger(__name__)


async def seal_all(pool: Pool) -> int:
    """Seal all waiting rows of all companies; return how many."""
    sealed = 0
    while some := await seal_some(pool, _ROWS):
        sealed += some
    return sealed


async def export_heads(pool: Pool, store: ObjectStore, key: Ed25519PrivateKey) -> int:
    """Sign and store the chain heads that changed; return how many.

    A head is stored first and recorded afterwards, so that none is lost; at worst one is stored
    twice.
    """
    exported = 0
    while heads := await unexported_heads(pool, _HEADS):
        await write_heads(store, key, heads)
        await note_export(pool, heads)
        exported += len(heads)
    return exported


def sealing(pool: Pool, settings: Settings) -> Callable[[], Awaitable[None]]:
    """Return the work of every minute: seal, and export chain heads if there is a key to
    sign them.
    """
    try:
        key = signing_key(settings)
    except SetupError as error:
        log.warning("audit_heads_not_exported", reason=error.code)
        key = None
    store = open_heads(settings) if key else None

    async def seal_and_export() -> None:
        sealed = await seal_all(pool)
        exported = await export_heads(pool, store, key) if key and store else 0
        if sealed:
            log.info("audit_sealed", rows=sealed, heads=exported)

    return seal_and_export
