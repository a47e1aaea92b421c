"""What crosses the wire when signing up."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from neurant.accounts.schemas import Body
from neurant.auth.passwords import LONGEST_PASSWORD
from neurant.core.person_names import MOST_NAME
from neurant.core.text_types import EmailText, PasswordText, PersonName, Text


class NewAccount(Body):
    """Who signs up. The mail is in the language of Accept-Language."""

    first_name: PersonName = Field(max_length=MOST_NAME)
    last_name: PersonName = Field(max_length=MOST_NAME)
    email: EmailText = Field(max_length=320)
    password: PasswordText = Field(
        max_length=LONGEST_PASSWORD,
        description="At least 10 characters; not the address, a run or a common word",
    )
    accept_terms: bool = Field(
        default=False,
        description="Needed where this installation has terms, idle elsewhere",
    )


class BegunOut(BaseModel):
    """The same for every address. ``verification_token`` is this client's part of the proof."""

    verification_token: str
    expires_at: datetime
    resend_after_seconds: int


class Pending(Body):
    """Which sign-up is meant."""

    verification_token: Text = Field(max_length=200)


class ResentOut(BaseModel):
    """Written again."""

    resend_after_seconds: int


class StateOut(BaseModel):
    """``verified``: go on with POST /v1/accounts/verification and no code."""

    state: Literal["pending", "verified", "expired"]


class Proof(Body):
    """The code with the token of the client that signed up; or the mailed link's token with that
    token, or with the password; or, once verified elsewhere, that token alone."""

    verification_token: Text | None = Field(default=None, max_length=200)
    code: Text | None = Field(default=None, max_length=64)
    link_token: Text | None = Field(default=None, max_length=200)
    password: Text | None = Field(default=None, max_length=LONGEST_PASSWORD)
