"""The bodies of the endpoints for a person's own account."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field

from neurant.accounts.schemas import Body, SessionOut
from neurant.auth.passwords import MAX_PASSWORD_LENGTH
from neurant.core.person_names import MAX_NAME
from neurant.core.text_types import PasswordText, PersonName, Text

_Password = Field(max_length=MAX_PASSWORD_LENGTH, description="Current password of the account")
_NewPassword = Field(
    max_length=MAX_PASSWORD_LENGTH, description="New password of at least 10 characters"
)
_Code = Field(max_length=64, description="Code of the authenticator app, or a recovery code")


class AccountOut(BaseModel):
    """A person's own account. Names, phone and picture belong to the company of the session."""

    email: str = Field(description="E-mail address with which the person signs in")
    first_name: str | None = Field(description="Given name of the person; null: not known yet")
    last_name: str | None = Field(description="Family name of the person; null: not known yet")
    phone: str | None = Field(description="Telephone number; null: none")
    avatar_url: str | None = Field(description="https address of the picture; null: none")
    is_limited: bool = Field(
        description="Whether a company's single sign-on opened the session, which then cannot "
        "change the login"
    )
    two_step: bool | None = Field(
        description="Whether two-step verification is on; null: the session is limited"
    )
    recovery_codes_left: int = Field(description="Number of recovery codes that are unused")


Picture = Annotated[str, Field(max_length=2000, pattern=r"^(https://[a-z0-9.-]+(/[!-~]*)?)?$")]


class ProfilePatch(Body):
    """Changes of a profile; null or "" removes phone and picture."""

    first_name: PersonName = Field(
        default="", max_length=MAX_NAME, description="Given name of the person"
    )
    last_name: PersonName = Field(
        default="", max_length=MAX_NAME, description="Family name of the person"
    )
    phone: str | None = Field(
        default=None,
        max_length=50,
        pattern=r"^[0-9+() .-]*$",
        description="Telephone number of at most 50 characters; null: none",
    )
    avatar_url: Picture | None = Field(
        default=None, description="https address of a picture; null: none"
    )


class AuthSessionOut(BaseModel):
    """An open session of the person."""

    session_id: UUID = Field(description="UUID of the session")
    device: str | None = Field(
        description="Browser and system, such as Firefox · Linux; null: unknown"
    )
    ip_address: str | None = Field(
        description="IP address at which the session was opened; null: unknown"
    )
    company_name: str | None = Field(
        description="Company in which the session works; null: in none"
    )
    created_at: datetime = Field(description="When the person signed in")
    last_seen_at: datetime = Field(description="When the session was last used")
    expires_at: datetime = Field(description="When the session ends at the latest")
    is_current: bool = Field(description="Whether this request uses the session")


class AuthSessionsOut(BaseModel):
    """Every open session of the person, the current one first."""

    data: list[AuthSessionOut] = Field(description="The open sessions, the current one first")


class EndedOut(BaseModel):
    """The number of sessions that ended."""

    ended: int = Field(description="Number of sessions that this request closed")


class PasswordChange(Body):
    """The current password and the new one."""

    current_password: Text = _Password
    new_password: PasswordText = _NewPassword


class PasswordOnly(Body):
    """The password as proof of identity."""

    password: Text = _Password


class CodeOnly(Body):
    """The first code of the authenticator app."""

    code: Text = _Code


class PasswordAndCode(Body):
    """Password and code as proof of identity."""

    password: Text = _Password
    code: Text = _Code


class NewFactorOut(BaseModel):
    """The secret for an authenticator app (RFC 6238: SHA-1, 6 digits, 30 s).

    It is shown until a first code confirms it, and has no effect before.
    """

    secret: str = Field(description="Secret in base 32, to type into the app")
    uri: str = Field(description="otpauth address of the secret, for a link")
    qr_svg: str = Field(description="QR code of the otpauth address, as SVG")


class TurnedOnOut(BaseModel):
    """The recovery codes, shown once, and the session under its new token."""

    recovery_codes: list[str] = Field(
        description="Ten codes of the form xxxx-xxxx-xxxx, each valid once"
    )
    session: SessionOut = Field(description="The session under its new token")


class RecoveryCodesOut(BaseModel):
    """New recovery codes, shown once; the previous ones are no longer valid."""

    recovery_codes: list[str] = Field(
        description="Ten codes of the form xxxx-xxxx-xxxx, each valid once"
    )
