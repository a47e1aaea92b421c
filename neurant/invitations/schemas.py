"""The bodies of the endpoints for invitations."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from neurant.api.listing import ListQuery
from neurant.auth.passwords import MAX_PASSWORD_LENGTH
from neurant.core.text_types import IS_PERSON, STORABLE, EmailText, PasswordText, formatted
from neurant.core.timestamps import Timestamp
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
Password = Annotated[PasswordText, Field(min_length=1, max_length=MAX_PASSWORD_LENGTH)]
Token = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_-]+$")]


class InvitationOut(BaseModel):
    """An invitation, as people above its role see it. Only the mail contains the link."""

    id: UUID = Field(description="UUID of the invitation")
    email: str = Field(description="Address that was invited")
    first_name: str | None = Field(description="Given name of the person; null: not given")
    last_name: str | None = Field(description="Family name of the person; null: not given")
    role: Role = Field(description="Role that the person gets")
    status: Status = Field(description="pending, accepted, expired after seven days, or cancelled")
    invited_by: UUID = Field(description="UUID of the person who invited")
    inviter_name: str | None = Field(
        description="Name of the person who invited; null: the caller may not see them"
    )
    language: str = Field(description="Language of the mail: es or en")
    sent_at: datetime = Field(description="When the newest mail was queued")
    sent_count: int = Field(description="How often the link was sent")
    expires_at: datetime = Field(description="When the link expires")
    reminder_count: int = Field(description="Number of reminders that were sent")
    accepted_at: datetime | None = Field(description="When it was accepted; null: it was not")
    accepted_by_user_id: UUID | None = Field(
        description="The member who accepted it; null: it is not accepted"
    )
    created_at: datetime = Field(description="When the invitation was created")
    mail_status: Literal["pending", "sending", "sent", "failed"] | None = Field(
        description="State of the newest mail of a pending invitation; null: none"
    )
    mail_error: str | None = Field(
        description="Answer of the mail server if it refused the mail; null: it did not"
    )


class InvitationIn(BaseModel):
    """The person to invite, to a role below that of the caller."""

    model_config = ConfigDict(extra="forbid")

    email: Email = Field(description="Address to invite")
    role: Role = Field(description="Role that the person gets, below that of the caller")
    first_name: Name | None = Field(
        default=None, description="Given name of the person; null: not given"
    )
    last_name: Name | None = Field(
        default=None, description="Family name of the person; null: not given"
    )
    language: Language | None = Field(
        default=None, description="Language of the mail; null: that of Accept-Language"
    )


class InvitationQuery(ListQuery):
    """The filters and sorts of the list."""

    status: Status | None = Field(default=None, description="Only invitations in this state")
    role: Role | None = Field(default=None, description="Only invitations to this role")
    invited_by: UUID | None = Field(default=None, description="Only invitations by this person")
    sent_after: Timestamp | None = Field(
        default=None, description="Only invitations sent at this time or later"
    )
    sent_before: Timestamp | None = Field(
        default=None, description="Only invitations sent before this time"
    )
    sort: Literal["email", "-email", "sent_at", "-sent_at", "expires_at", "-expires_at"] = Field(
        default="-sent_at", description="Order of the rows; - reverses it"
    )


class SeenInvitation(BaseModel):
    """The invitation as the holder of its link sees it."""

    company_name: str = Field(description="Name of the company that invites")
    invited_by: str = Field(description="Name of the person who invited")
    email: str = Field(description="Address that was invited")
    role: Role = Field(description="Role that the person gets")
    first_name: str | None = Field(description="Given name of the person; null: not given")
    last_name: str | None = Field(description="Family name of the person; null: not given")
    expires_at: datetime = Field(description="When the link expires")
    has_login: bool = Field(
        description="Whether the address has an account, whose person must sign in to accept"
    )


class AcceptIn(BaseModel):
    """The token of the link; a person without an account also gives a name and a password."""

    model_config = ConfigDict(extra="forbid")

    token: Token = Field(description="Part of the mailed link after #")
    first_name: Name | None = Field(
        default=None, description="Given name of the person; null: not given"
    )
    last_name: Name | None = Field(
        default=None, description="Family name of the person; null: not given"
    )
    password: (
        Annotated[PasswordText, Field(min_length=1, max_length=MAX_PASSWORD_LENGTH)] | None
    ) = Field(
        default=None,
        description="Password of at least 10 characters for a new account; null: the caller"
        " has an account",
    )
    accept_terms: bool = Field(
        default=False,
        description="Whether a new person accepts the terms; required only if this installation has"
        " terms",
    )


class AcceptedOut(BaseModel):
    """The new membership."""

    company_id: UUID = Field(description="UUID of the company that was joined")
    company_name: str = Field(description="Name of the company that was joined")
    user_id: UUID = Field(description="UUID of the new member")
    role: Role = Field(description="Role of the new member")
