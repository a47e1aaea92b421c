"""Invitations on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from neurant.api.listing import ListQuery
from neurant.auth.passwords import LONGEST_PASSWORD
from neurant.core.text_types import IS_PERSON, STORABLE, EmailText, PasswordText, formatted
from neurant.core.timestamps import Moment
from neurant.texts import Language

Role = Literal["administrador", "supervisor", "operador"]
Status = Literal["pending", "accepted", "expired", "cancelled"]
Name = Annotated[
    str,
    Field(min_length=1, max_length=100, pattern=r"\S"),
    formatted("person-name"),
    IS_PERSON,
    STORABLE,
]
Email = Annotated[EmailText, Field(min_length=3, max_length=254)]
Password = Annotated[PasswordText, Field(min_length=1, max_length=LONGEST_PASSWORD)]
Token = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_-]+$")]


class InvitationOut(BaseModel):
    """An invitation as those above its role see it. The link is in the mail only."""

    id: UUID
    email: str
    first_name: str | None
    last_name: str | None
    role: Role
    status: Status
    invited_by: UUID
    inviter_name: str | None = Field(description="null: not to be seen by the caller")
    language: str
    sent_at: datetime
    sent_count: int
    expires_at: datetime
    reminder_count: int
    accepted_at: datetime | None
    accepted_by_user_id: UUID | None
    created_at: datetime
    mail_status: Literal["pending", "sending", "sent", "failed"] | None = Field(
        description="Of the newest mail of a pending invitation"
    )
    mail_error: str | None = Field(description="What the mail server said, if it refused")


class InvitationIn(BaseModel):
    """Whom to invite, to a role below one's own."""

    model_config = ConfigDict(extra="forbid")

    email: Email
    role: Role
    first_name: Name | None = None
    last_name: Name | None = None
    language: Language | None = Field(
        default=None, description="Of the mail; else that of Accept-Language"
    )


class InvitationQuery(ListQuery):
    """The filters and sorts of the list."""

    status: Status | None = None
    role: Role | None = None
    invited_by: UUID | None = None
    sent_after: Moment | None = Field(default=None, description="Not older than this")
    sent_before: Moment | None = Field(default=None, description="Older than this")
    sort: Literal["email", "-email", "sent_at", "-sent_at", "expires_at", "-expires_at"] = (
        "-sent_at"
    )


class SeenInvitation(BaseModel):
    """What the holder of a link is told."""

    company_name: str
    invited_by: str
    email: str
    role: Role
    first_name: str | None
    last_name: str | None
    expires_at: datetime
    has_login: bool = Field(description="The address has an account: sign in to accept")


class AcceptIn(BaseModel):
    """The link's token; who has no account yet gives a name and a password, too."""

    model_config = ConfigDict(extra="forbid")

    token: Token
    first_name: Name | None = None
    last_name: Name | None = None
    password: Annotated[PasswordText, Field(min_length=1, max_length=LONGEST_PASSWORD)] | None = (
        None
    )
    accept_terms: bool = Field(
        default=False,
        description="Needed for a new account where this installation has terms, idle elsewhere",
    )


class AcceptedOut(BaseModel):
    """The membership that began."""

    company_id: UUID
    company_name: str
    user_id: UUID
    role: Role
