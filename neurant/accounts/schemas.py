"""The bodies of the endpoints that open, read and move a session."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from neurant.auth.passwords import LONGEST_PASSWORD
from neurant.core.text_types import Text


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
