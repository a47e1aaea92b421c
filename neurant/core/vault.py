"""Secrets at rest: AES-256-GCM under a key per company, itself wrapped by the master key.

The master key lives outside the database (NEURANT_MASTER_KEY). Company and row are bound as
associated data, so that a secret copied to another row or company does not open there. What no
company owns (mail that waits) is sealed by ``Vault``, under the master key itself.
"""

from __future__ import annotations

import base64
import os
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from neurant.core.db.pool import Connection, fetch_value
from neurant.core.errors import SetupError
from neurant.core.settings import Settings

_NONCE = 12  # bytes, NIST SP 800-38D


def _seal(key: bytes, plain: bytes, bound_to: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound_to)


def _open(key: bytes, sealed: bytes, bound_to: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], bound_to)
    except InvalidTag:
        raise SetupError("wrong_master_key") from None


def master_key(settings: Settings) -> bytes:
    """The 32 bytes that everything secret is kept under. Raises SetupError."""
    if settings.master_key is None:
        raise SetupError("master_key_missing")
    try:
        key = base64.b64decode(settings.master_key.get_secret_value(), validate=True)
    except ValueError:  # binascii.Error is one
        raise SetupError("master_key_invalid") from None
    if len(key) != 32:
        raise SetupError("master_key_invalid")
    return key


class Vault:
    """Secrets that are no company's, each bound to what it is and to its row."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def seal(self, kind: str, row_id: UUID, secret: str) -> bytes:
        """``secret`` as it may be stored in the row ``row_id``. Raises SetupError."""
        bound = kind.encode() + row_id.bytes
        return _seal(master_key(self._settings), secret.encode(), bound)

    def open(self, kind: str, row_id: UUID, sealed: bytes) -> str:
        """The secret that was sealed for this row. Raises SetupError under another master key."""
        bound = kind.encode() + row_id.bytes
        return _open(master_key(self._settings), sealed, bound).decode()


async def _company_key(connection: Connection, settings: Settings, company_id: UUID) -> bytes:
    wrapped = await fetch_value(
        connection,
        "select wrapped_key from public.company_keys where company_id = %s",
        (company_id,),
    )
    if not isinstance(wrapped, bytes):
        raise SetupError("company_key_missing")
    return _open(master_key(settings), wrapped, company_id.bytes)


async def ensure_company_key(connection: Connection, settings: Settings, company_id: UUID) -> None:
    """Make the company's key if it has none, in the caller's transaction (owner, administrador)."""
    wrapped = _seal(master_key(settings), os.urandom(32), company_id.bytes)
    await connection.execute(
        "insert into public.company_keys (company_id, wrapped_key) values (%s, %s)"
        " on conflict (company_id) do nothing",
        (company_id, wrapped),
    )


async def seal_secret(
    connection: Connection, settings: Settings, company_id: UUID, row_id: UUID, secret: str
) -> bytes:
    """``secret`` as it may be stored in the row ``row_id`` of the company."""
    key = await _company_key(connection, settings, company_id)
    return _seal(key, secret.encode(), company_id.bytes + row_id.bytes)


async def open_secret(
    connection: Connection, settings: Settings, company_id: UUID, row_id: UUID, sealed: bytes
) -> str:
    """The secret that was sealed for this row. Raises SetupError under another master key."""
    key = await _company_key(connection, settings, company_id)
    return _open(key, sealed, company_id.bytes + row_id.bytes).decode()


def open_wrapped(
    settings: Settings, company_id: UUID, row_id: UUID, wrapped_key: bytes, sealed: bytes
) -> str:
    """The same where the company's wrapped key is at hand already: for a caller who is nobody yet
    and may not read keys."""
    key = _open(master_key(settings), wrapped_key, company_id.bytes)
    return _open(key, sealed, company_id.bytes + row_id.bytes).decode()
