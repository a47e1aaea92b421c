"""The visitors of a web chat: an opaque token in the browser, its digest in the database."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime, timedelta

from neurant.channels.webchat.limits import Doing, VisitorLimits
from neurant.channels.webchat.proof_of_work import ProofOfWork
from neurant.core.db.tenancy import Visitor
from neurant.core.errors import UnauthenticatedError

LIFETIME = timedelta(days=30)
_ROUTING_ID = re.compile(r"[A-Za-z0-9_-]{8,100}")  # the database's own check


def is_routing_id(text: str) -> bool:
    """Return whether the text has the form of a chat's id."""
    return _ROUTING_ID.fullmatch(text) is not None


def digest(token: str) -> bytes:
    """Return the SHA-256 of a token; nothing else of the token is stored."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


async def open_session(
    limits: VisitorLimits, doing: Doing, proof: ProofOfWork | None
) -> tuple[str, datetime]:
    """Open a session for a new visitor; return its token and its end.

    Raises the errors of ``VisitorLimits.open``.
    """
    token = secrets.token_urlsafe(32)
    return token, await limits.open(doing, digest(token), LIFETIME, proof)


def visitor_from(authorization: str | None) -> Visitor:
    """Return the visitor of a bearer token, which the database verifies later.

    Raises UnauthenticatedError for a missing token.
    """
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise UnauthenticatedError("visitor_session_missing")
    return Visitor(digest(token.strip()))
