"""Visitors of a web chat: an opaque token in their browser, its digest in the database."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime, timedelta

from neurant.database.pool import Pool, fetch_value
from neurant.database.tenancy import Visitor
from neurant.errors import NotFoundError, UnauthenticatedError

LIFETIME = timedelta(days=30)
_ROUTING_ID = re.compile(r"[A-Za-z0-9_-]{8,100}")  # as the database has it


def is_routing_id(text: str) -> bool:
    """Whether the text could name a chat at all."""
    return _ROUTING_ID.fullmatch(text) is not None


def digest(token: str) -> bytes:
    """SHA-256 of a token: all that is stored of it."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


async def open_session(pool: Pool, routing_id: str) -> tuple[str, datetime]:
    """A new visitor of the chat: token and end of its life. Raises NotFoundError."""
    token = secrets.token_urlsafe(32)
    async with pool.connection() as connection:
        expires_at = await fetch_value(
            connection,
            "select private.open_visitor_session(%s, %s, %s)",
            (routing_id, digest(token), LIFETIME),
        )
    if not isinstance(expires_at, datetime):
        raise NotFoundError("unknown_chat")
    return token, expires_at


def visitor_from(authorization: str | None) -> Visitor:
    """The visitor that a bearer token names; the database verifies it. UnauthenticatedError."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise UnauthenticatedError("visitor_session_missing")
    return Visitor(digest(token.strip()))
