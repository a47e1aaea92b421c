"""Signed heads of the audit chains, stored outside the database.

A chain head holds the company, the number of the last seal, and the hash of everything up to it. It
is signed with Ed25519 by a key that is never in the database (``NEURANT_AUDIT_KEY``, else derived
from the master key), and written as a line of JSON. Every export is a new object and overwrites
nothing, so that a store with object lock, or a folder on another machine, preserves the history.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from uuid import UUID

import obstore
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from obstore.store import ObjectStore

from neurant.audit.queries import ChainHead
from neurant.core.clock import utc_now
from neurant.core.errors import SetupError
from neurant.core.object_store import open_place
from neurant.core.settings import Settings
from neurant.core.vault import master_key

_PURPOSE = b"neurant audit heads 1"


@dataclass(frozen=True, slots=True)
class ExportedHead:
    """A chain head that was exported, as its line says. ``genuine``: one of our keys signed it."""

    company_id: UUID | None
    seq: int
    chain_hash: bytes
    genuine: bool
    place: str


def signing_key(settings: Settings) -> Ed25519PrivateKey:
    """Return the key of ``NEURANT_AUDIT_KEY``, else one derived from the master key.
    Raises SetupError.
    """
    if settings.audit_key is not None:
        return Ed25519PrivateKey.from_private_bytes(_key(settings.audit_key.get_secret_value()))
    derive = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE)
    return Ed25519PrivateKey.from_private_bytes(derive.derive(master_key(settings)))


def public_key(encoded: str) -> Ed25519PublicKey:
    """Return a public key that ``neurant audit export`` printed. Raises SetupError."""
    return Ed25519PublicKey.from_public_bytes(_key(encoded))


def encode_public(key: Ed25519PublicKey) -> str:
    """Return a public key in base64, for an auditor."""
    return base64.b64encode(key.public_bytes_raw()).decode()


def _key(encoded: str) -> bytes:
    try:
        key = base64.b64decode(encoded, validate=True)
    except ValueError:
        raise SetupError("audit_key_invalid") from None
    if len(key) != 32:
        raise SetupError("audit_key_invalid")
    return key


def open_heads(settings: Settings, place: str | None = None) -> ObjectStore:
    """Open the store of chain heads: ``place`` (a folder or URL), else the configured one or
    ``audit-heads``.

    Raises SetupError for a ``place`` that is not a folder.
    """
    if place is not None and "://" not in place:
        if not Path(place).is_dir():
            raise SetupError("audit_heads_missing", place=place)
        return open_place(None, Path(place))
    return open_place(place or settings.audit_heads_url, settings.data_dir / "audit-heads")


def _signed_text(company_id: str, seq: int, chain_hash: str, sealed_at: str) -> bytes:
    return f"neurant-audit-head-1:{company_id}:{seq}:{chain_hash}:{sealed_at}".encode()


def head_line(key: Ed25519PrivateKey, head: ChainHead) -> str:
    """Return a chain head as a signed line of JSON."""
    facts = (str(head.company_id), head.seq, head.chain_hash.hex(), head.sealed_at.isoformat())
    signature = base64.b64encode(key.sign(_signed_text(*facts))).decode()
    names = ("company_id", "seq", "chain_hash", "sealed_at")
    signer = sha256(key.public_key().public_bytes_raw()).hexdigest()[:16]
    return json.dumps({**dict(zip(names, facts, strict=True)), "key": signer, "sig": signature})


async def write_heads(
    store: ObjectStore, key: Ed25519PrivateKey, heads: Sequence[ChainHead]
) -> str:
    """Store chain heads as one new object and return its path; nothing is overwritten."""
    now = utc_now()
    path = f"{now:%Y-%m-%d}/{now:%H%M%S}-{secrets.token_hex(4)}.jsonl"
    lines = "".join(head_line(key, head) + "\n" for head in heads)
    await obstore.put_async(store, path, lines.encode(), mode="create")
    return path


def read_heads(store: ObjectStore, keys: Iterable[Ed25519PublicKey]) -> Iterator[ExportedHead]:
    """Yield every exported chain head, in no order; an unreadable line is not genuine."""
    trusted = list(keys)
    for batch in obstore.list(store):
        for found in batch:
            path = found["path"]
            content = bytes(obstore.get(store, path).bytes())
            for number, line in enumerate(content.splitlines(), start=1):
                yield _read_line(line, trusted, f"{path}:{number}")


def _read_line(line: bytes, keys: Sequence[Ed25519PublicKey], place: str) -> ExportedHead:
    try:
        told = json.loads(line)
        company, seq = UUID(told["company_id"]), int(told["seq"])
        chain_hash = bytes.fromhex(told["chain_hash"])
        signature = base64.b64decode(told["sig"], validate=True)
        signed = _signed_text(str(company), seq, chain_hash.hex(), str(told["sealed_at"]))
    except (ValueError, KeyError, TypeError, AttributeError):
        return ExportedHead(None, 0, b"", genuine=False, place=place)
    genuine = any(_verifies(key, signature, signed) for key in keys)
    return ExportedHead(company, seq, chain_hash, genuine, place)


def _verifies(key: Ed25519PublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed)
    except InvalidSignature:
        return False
    return True
