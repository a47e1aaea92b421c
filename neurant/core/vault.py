"""Encryption of stored secrets: AES-256-GCM with a key per company, wrapped by the master key.

The master key is stored outside the database (NEURANT_MASTER_KEY). Company and row are the
associated data, so that a secret that is copied to another row or company cannot be decrypted
there. Secrets without a company, such as queued mail, are encrypted by ``Vault`` with the master
key.
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
    """Return the 32 bytes of the master key. Raises SetupError."""
    if settings.master_key is None:
        raise SetupError("master_key_missing")
    try:
        key = base64.b64decode(settings.master_key.get_secret_value(), validate=True)
    except ValueError:  # the base class of binascii.Error
        raise SetupError("master_key_invalid") from None
    if len(key) != 32:
        raise SetupError("master_key_invalid")
    return key


class Vault:
    """The encryption of secrets without a company, each bound to its kind and its row."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def seal(self, kind: str, row_id: UUID, secret: str) -> bytes:
        """Encrypt ``secret`` for the row ``row_id``. Raises SetupError."""
        bound = kind.encode() + row_id.bytes
        return _seal(master_key(self._settings), secret.encode(), bound)

    def open(self, kind: str, row_id: UUID, sealed: bytes) -> str:
        """Decrypt the secret of this row. Raises SetupError under another master key."""
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
    """Create the company's key if it has none, in the caller's transaction.

    The owner and administradores may do so.
    """
    wrapped = _seal(master_key(settings), os.urandom(32), company_id.bytes)
    await connection.execute(
        "insert into public.company_keys (company_id, wrapped_key) values (%s, %s)"
        " on conflict (company_id) do nothing",
        (company_id, wrapped),
    )


async def seal_secret(
    connection: Connection, settings: Settings, company_id: UUID, row_id: UUID, secret: str
) -> bytes:
    """Encrypt ``secret`` for the row ``row_id`` of the company."""
    key = await _company_key(connection, settings, company_id)
    return _seal(key, secret.encode(), company_id.bytes + row_id.bytes)


async def open_secret(
    connection: Connection, settings: Settings, company_id: UUID, row_id: UUID, sealed: bytes
) -> str:
    """Decrypt the secret of this row. Raises SetupError under another master key."""
    key = await _company_key(connection, settings, company_id)
    return _open(key, sealed, company_id.bytes + row_id.bytes).decode()


def open_wrapped(
    settings: Settings, company_id: UUID, row_id: UUID, wrapped_key: bytes, sealed: bytes
) -> str:
    """Decrypt the secret of this row with the company's wrapped key.

    It serves a caller who is not authenticated yet and may not read keys. Raises SetupError.
    """
    key = _open(master_key(settings), wrapped_key, company_id.bytes)
    return _open(key, sealed, company_id.bytes + row_id.bytes).decode()
