"""The bodies of the endpoints that create an account."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from neurant.accounts.schemas import Body
from neurant.auth.passwords import MAX_PASSWORD_LENGTH
from neurant.core.person_names import MAX_NAME
from neurant.core.text_types import EmailText, PasswordText, PersonName, Text


class NewAccount(Body):
    """A person who signs up. The mail is in the language of Accept-Language."""

    first_name: PersonName = Field(max_length=MAX_NAME, description="Given name of the person")
    last_name: PersonName = Field(max_length=MAX_NAME, description="Family name of the person")
    email: EmailText = Field(
        max_length=320, description="E-mail address, to which the mail is sent"
    )
    password: PasswordText = Field(
        max_length=MAX_PASSWORD_LENGTH,
        description="Password of at least 10 characters; not the address, a run or a common word",
    )
    accept_terms: bool = Field(
        default=False,
        description="Whether the person accepts the terms; required only if this installation has "
        "terms",
    )


class BegunOut(BaseModel):
    """The answer to a sign-up, the same for every address."""

    verification_token: str = Field(
        description="Secret of this client, required to confirm the sign-up"
    )
    expires_at: datetime = Field(description="When the sign-up and its link expire")
    resend_after_seconds: int = Field(description="Seconds until another mail may be requested")


class Pending(Body):
    """A sign-up that waits for its confirmation."""

    verification_token: Text = Field(
        max_length=200, description="Secret from the answer to POST /v1/accounts"
    )


class ResentOut(BaseModel):
    """The time to wait after another mail."""

    resend_after_seconds: int = Field(description="Seconds until another mail may be requested")


class StateOut(BaseModel):
    """The state of a sign-up; if ``verified``, call POST /v1/accounts/verification
    without a code.
    """

    state: Literal["pending", "verified", "expired"] = Field(
        description="pending: the link is unopened; verified: it was opened; expired: begin again"
    )


class Proof(Body):
    """The proof that a person owns the mailbox, in one of four forms.

    The code with ``verification_token``; the mailed link's token with ``verification_token``; the
    link's token with the password; or ``verification_token`` alone after the link was opened on
    another device.
    """

    verification_token: Text | None = Field(
        default=None, max_length=200, description="Secret from the answer to POST /v1/accounts"
    )
    code: Text | None = Field(default=None, max_length=64, description="Six digits from the mail")
    link_token: Text | None = Field(
        default=None, max_length=200, description="Part of the mailed link after link="
    )
    password: Text | None = Field(
        default=None,
        max_length=MAX_PASSWORD_LENGTH,
        description="Password chosen at the sign-up; required if another client opens the link",
    )
