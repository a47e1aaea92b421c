"""The people of sessions: a member of a company's staff, or a person without a company."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from neurant.core.db.tenancy import Staff, Trail

MANAGERS = ("owner", "administrador", "supervisor")


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A member of the staff with an open session (rows of ``private.login_session``)."""

    session_id: UUID
    auth_user_id: UUID
    company_id: UUID
    user_id: UUID
    role: str
    first_name: str
    last_name: str
    email: str
    company_name: str
    trail: Trail | None = None  # the trail of the request that carries the session

    @property
    def name(self) -> str:
        """First and last name."""
        return f"{self.first_name} {self.last_name}".strip()

    @property
    def principal(self) -> Staff:
        """The principal of a transaction."""
        return Staff(self.auth_user_id, self.company_id, self.trail)

    @property
    def sees_all_bots(self) -> bool:
        """True for owner, administrador and supervisor; an operador sees assigned bots only."""
        return self.role in MANAGERS


@dataclass(frozen=True, slots=True)
class Person:
    """A person with an open session, in a company or in none. ``digest`` is that of the token."""

    session_id: UUID
    auth_user_id: UUID
    email: str
    first_name: str | None
    last_name: str | None
    company_id: UUID | None
    user_id: UUID | None
    created_at: datetime
    expires_at: datetime
    is_limited: bool
    digest: bytes
    trail: Trail

    @property
    def name(self) -> str:
        """First and last name, else the e-mail address."""
        return f"{self.first_name or ''} {self.last_name or ''}".strip() or self.email
