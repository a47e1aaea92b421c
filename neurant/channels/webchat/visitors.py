"""Visitors of a web chat: an opaque token in their browser, its digest in the database."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime, timedelta

from neurant.channels.webchat.limits import Doing, VisitorLimits
from neurant.channels.webchat.proof import Proof
from neurant.core.db.tenancy import Visitor
from neurant.core.errors import UnauthenticatedError

LIFETIME = timedelta(days=30)
_ROUTING_ID = re.compile(r"[A-Za-z0-9_-]{8,100}")  # as the database has it


def is_routing_id(text: str) -> bool:
    """Whether the text could name a chat at all."""
    return _ROUTING_ID.fullmatch(text) is not None


def digest(token: str) -> bytes:
    """SHA-256 of a token: all that is stored of it."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


async def open_session(
    limits: VisitorLimits, doing: Doing, proof: Proof | None
) -> tuple[str, datetime]:
    """A new visitor of a chat: token and end of its life. Raises as ``VisitorLimits.open`` does."""
    token = secrets.token_urlsafe(32)
    return token, await limits.open(doing, digest(token), LIFETIME, proof)


def visitor_from(authorization: str | None) -> Visitor:
    """The visitor that a bearer token names; the database verifies it. UnauthenticatedError."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise UnauthenticatedError("visitor_session_missing")
    return Visitor(digest(token.strip()))
