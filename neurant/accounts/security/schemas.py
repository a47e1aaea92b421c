"""What crosses the wire about a person's own account."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field

from neurant.accounts.schemas import Body, SessionOut
from neurant.auth.passwords import LONGEST_PASSWORD
from neurant.core.person_names import MOST_NAME
from neurant.core.text_types import PasswordText, PersonName, Text

_Password = Field(max_length=LONGEST_PASSWORD)
_Code = Field(max_length=64, description="Of the authenticator app, or a recovery code")


class AccountOut(BaseModel):
    """A person's own account. Names, phone and picture are of the company they work in now."""

    email: str
    first_name: str | None
    last_name: str | None
    phone: str | None
    avatar_url: str | None
    is_limited: bool = Field(
        description="A company's single sign-on opened the session: it changes nothing of the login"
    )
    two_step: bool | None = Field(description="null where the session is limited")
    recovery_codes_left: int


Picture = Annotated[str, Field(max_length=2000, pattern=r"^(https://[a-z0-9.-]+(/[!-~]*)?)?$")]


class ProfilePatch(Body):
    """What is left out stays as it is; null or "" takes phone and picture away."""

    first_name: PersonName = Field(default="", max_length=MOST_NAME)
    last_name: PersonName = Field(default="", max_length=MOST_NAME)
    phone: str | None = Field(default=None, max_length=50, pattern=r"^[0-9+() .-]*$")
    avatar_url: Picture | None = None


class AuthSessionOut(BaseModel):
    """Where the person is signed in."""

    session_id: UUID
    device: str | None
    ip_address: str | None
    company_name: str | None
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    is_current: bool


class AuthSessionsOut(BaseModel):
    """Every open session of the person, this one first."""

    data: list[AuthSessionOut]


class EndedOut(BaseModel):
    """How many sessions ended."""

    ended: int


class PasswordChange(Body):
    """The password as it is, and as it is to be."""

    current_password: Text = _Password
    new_password: PasswordText = _Password


class PasswordOnly(Body):
    """The person shows to be who they are."""

    password: Text = _Password


class CodeOnly(Body):
    """The first code of the app."""

    code: Text = _Code


class PasswordAndCode(Body):
    """The person shows to be who they are, twice."""

    password: Text = _Password
    code: Text = _Code


class NewFactorOut(BaseModel):
    """The secret for an authenticator app (RFC 6238: SHA-1, 6 digits, 30 s). Shown until a first
    code confirms it; it does not count before."""

    secret: str
    uri: str
    qr_svg: str


class TurnedOnOut(BaseModel):
    """The recovery codes, shown this once, and the session under its new token."""

    recovery_codes: list[str]
    session: SessionOut


class RecoveryCodesOut(BaseModel):
    """Shown this once; those before are void."""

    recovery_codes: list[str]
