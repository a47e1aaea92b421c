"""Who founds a company: the one place where this meets sign-up."""

from __future__ import annotations

from fastapi import Request

from neurant.accounts.current import session_of
from neurant.companies.service import Founder
from neurant.errors import UnauthenticatedError


async def founder_of(request: Request) -> Founder:
    """The person whose session the request carries. Raises UnauthenticatedError."""
    known = await session_of(request)
    if known is None or known.trail is None:
        raise UnauthenticatedError("accounts.session_missing")
    return Founder(known.auth_user_id, known.email, known.first_name, known.last_name, known.trail)
