"""The refusal of further invitations: a signed link in the mail leads to a page that stores it.

The link holds the digest under which the address is stored (the address itself is neither in the
link nor stored) and an HMAC of it under a key of its own. The link serves no other purpose, so it
may appear in an address.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from hashlib import sha256

from neurant.auth.codes import keyed_digest
from neurant.core.db.pool import Pool
from neurant.core.errors import NotFoundError
from neurant.core.settings import Settings

PAGE = "/invitation/refuse"
_DIGEST_BYTES = 32
_SIGNATURE_BYTES = 16
_REFUSE = "select private.refuse_invitations(%s, %s)"


def refuse_link(settings: Settings, email: str) -> str:
    """Return the page on which the owner of an address refuses further invitations."""
    key = sha256(f"mail|invitation|{email.lower()}".encode()).digest()  # private.mail_key
    token = base64.urlsafe_b64encode(key + _signature(settings, key)).decode()
    return f"{settings.base_url()}{PAGE}?of={token}"


def read_token(settings: Settings, token: str) -> bytes:
    """Return the digest of the address. Raises NotFoundError for a token that we did not make."""
    try:
        plain = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        plain = b""
    key, proof = plain[:_DIGEST_BYTES], plain[_DIGEST_BYTES:]
    if not hmac.compare_digest(proof, _signature(settings, key)):
        raise NotFoundError("invitations.unknown_refusal")
    return key


async def refuse(pool: Pool, settings: Settings, token: str, *, wants: bool) -> None:
    """Store whether the holder of the link wants invitations. Raises NotFoundError."""
    key = read_token(settings, token)
    async with pool.connection() as connection, connection.transaction():
        await connection.execute(_REFUSE, (key, not wants))


def _signature(settings: Settings, key: bytes) -> bytes:
    return keyed_digest(settings, "refuse invitations", key, "")[:_SIGNATURE_BYTES]
