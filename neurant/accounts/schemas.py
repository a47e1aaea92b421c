"""The bodies of the endpoints that open, read and move a session."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from neurant.auth.passwords import MAX_PASSWORD_LENGTH
from neurant.core.text_types import Text


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A new session; the token is shown once and only its digest is stored."""

    token: str
    expires_at: datetime
    company_id: UUID | None = None


class Body(BaseModel):
    """A request body; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid")


class Credentials(Body):
    """The credentials of a login."""

    email: Text = Field(max_length=320, description="E-mail address of the account")
    password: Text = Field(max_length=MAX_PASSWORD_LENGTH, description="Password of the account")
    code: Text | None = Field(
        default=None,
        max_length=64,
        description="Code of the authenticator app, or a recovery code; only for accounts with two-"
        "step verification",
    )


class SessionOut(BaseModel):
    """A bearer token for the API and the time at which it expires."""

    token: str = Field(description="Bearer token, shown only in this answer")
    expires_at: datetime = Field(
        description="When the session ends at the latest, even if it is used"
    )
    company_id: UUID | None = Field(
        description="Company in which the session works; null: the person belongs to none (yet)"
    )


class CompanyOut(BaseModel):
    """A company in which the person may work."""

    company_id: UUID = Field(description="UUID of this company")
    name: str = Field(description="Name that people see")
    slug: str = Field(description="Short name that is unique on this installation")
    role: str = Field(
        description="Role of the person: owner, administrador, supervisor or operador"
    )
    is_current: bool = Field(description="Whether the session works in this company now")


class WhoOut(BaseModel):
    """The session, its person, and the companies in which it may continue."""

    session_id: UUID = Field(description="UUID of the session")
    email: str = Field(description="E-mail address of the person")
    first_name: str | None = Field(description="Given name of the person; null: not known yet")
    last_name: str | None = Field(description="Family name of the person; null: not known yet")
    company_id: UUID | None = Field(description="Company in which the session works; null: in none")
    user_id: UUID | None = Field(
        description="The person as a member of this company; null: in no company"
    )
    expires_at: datetime = Field(description="When the session ends at the latest")
    companies: list[CompanyOut] = Field(
        description="Companies in which the session may continue, by name"
    )


class ChosenCompany(Body):
    """The company in which the session continues."""

    company_id: UUID = Field(description="UUID of the company to continue in")
