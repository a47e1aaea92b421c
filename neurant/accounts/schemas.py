"""Who is signed in, and what crosses the wire when signing in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from neurant.core.db.tenancy import Staff, Trail
from neurant.core.text_types import Text

MANAGERS = ("owner", "administrador", "supervisor")
LONGEST_PASSWORD = 1024  # what is hashed is bounded, so that a login costs the same for everybody


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
    trail: Trail | None = None  # of the request that carries the session

    @property
    def name(self) -> str:
        """First and last name."""
        return f"{self.first_name} {self.last_name}".strip()

    @property
    def principal(self) -> Staff:
        """Who to be in a transaction."""
        return Staff(self.auth_user_id, self.company_id, self.trail)

    @property
    def sees_all_bots(self) -> bool:
        """Owner, administrador and supervisor; an operador works for assigned bots only."""
        return self.role in MANAGERS


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an open session, in a company or in none. ``digest`` is of its token."""

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
        """First and last name, else the address."""
        return f"{self.first_name or ''} {self.last_name or ''}".strip() or self.email


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A new session; the token is shown once and only its digest is kept."""

    token: str
    expires_at: datetime
    company_id: UUID | None = None


class Body(BaseModel):
    """What a request carries: nothing that is not asked for."""

    model_config = ConfigDict(extra="forbid")


class Credentials(Body):
    """What a login asks for."""

    email: Text = Field(max_length=320)
    password: Text = Field(max_length=LONGEST_PASSWORD)
    code: Text | None = Field(
        default=None,
        max_length=64,
        description="Of the authenticator app, or a recovery code: for who has turned that on",
    )


class SessionOut(BaseModel):
    """A bearer token for the API, with the end of its life."""

    token: str
    expires_at: datetime
    company_id: UUID | None = Field(description="null: the person belongs to no company (yet)")


class CompanyOut(BaseModel):
    """A company in which the person may work."""

    company_id: UUID
    name: str
    slug: str
    role: str
    is_current: bool


class WhoOut(BaseModel):
    """Whose session this is, and where they may go."""

    session_id: UUID
    email: str
    first_name: str | None
    last_name: str | None
    company_id: UUID | None
    user_id: UUID | None
    expires_at: datetime
    companies: list[CompanyOut]


class ChosenCompany(Body):
    """Where to go on."""

    company_id: UUID
