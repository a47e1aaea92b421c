"""The creation of API keys: a key is random, shown once, and stored as a digest."""

from __future__ import annotations

import secrets

from neurant.api_keys import queries
from neurant.api_keys.schemas import KeyIn, NewKeyOut
from neurant.auth.codes import digest
from neurant.auth.current import KEY_PREFIX
from neurant.core.db.pool import Connection

_RANDOM_BYTES = 32
_TOLD_CHARACTERS = len(KEY_PREFIX) + 8


async def make_key(connection: Connection, new: KeyIn) -> NewKeyOut:
    """Create a key that belongs to the caller, and return it with its secret."""
    key = KEY_PREFIX + secrets.token_hex(_RANDOM_BYTES)
    key_id = await queries.insert_key(connection, new, key[:_TOLD_CHARACTERS], digest(key))
    made = await queries.get_key(connection, key_id)
    assert made is not None  # noqa: S101 - in the transaction that made it
    return NewKeyOut(**made.model_dump(), key=key)
