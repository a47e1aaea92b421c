"""What crosses the wire about a company's connections to identity providers."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from neurant.api.listing import ListQuery
from neurant.core.text_types import IS_NAME, STORABLE, formatted, is_storable


def _storable_secret(value: SecretStr) -> SecretStr:
    if not is_storable(value.get_secret_value()):
        raise ValueError("NUL and lone surrogates cannot be stored")
    return value


def _visible(issuer: str) -> str:
    if not re.fullmatch(r"https?://[!-~]+", issuer):
        raise ValueError("an address of visible ASCII characters")
    return issuer


DefaultRole = Literal["supervisor", "operador"]
Name = Annotated[
    str,
    Field(
        min_length=1,
        max_length=100,
        pattern=r"\S",
        description="What the button says: “Acme Entra ID”",
    ),
    formatted("name"),
    IS_NAME,
    STORABLE,
]
Issuer = Annotated[
    str,
    AfterValidator(_visible),
    Field(max_length=500, description="Exactly as the provider calls itself; https"),
    formatted("issuer"),
]
ClientId = Annotated[str, Field(max_length=255, pattern=r"^[ -~]*[!-~][ -~]*$")]
ClientSecret = Annotated[
    SecretStr,
    AfterValidator(_storable_secret),
    Field(min_length=1, max_length=2000, description="Taken, and never shown again"),
]
Domains = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=253), formatted("mail-domain"), STORABLE]],
    Field(
        max_length=20,
        description="E-mail domains of the company that it speaks for, once they are proven",
    ),
]
Role = Annotated[
    DefaultRole | None,
    Field(description="Of who arrives without an invitation; null lets in only who is invited"),
]
Enforced = Annotated[
    bool, Field(description="People of its domains cannot use a password; the owner always can")
]


class SsoConnectionNew(BaseModel):
    """A new connection."""

    model_config = ConfigDict(extra="forbid")
    name: Name
    issuer: Issuer
    client_id: ClientId
    client_secret: ClientSecret | None = None
    domains: Domains = Field(default_factory=list)
    default_role: Role = None
    is_enforced: Enforced = False
    is_active: bool = True


class SsoConnectionPatch(BaseModel):
    """What may be changed; a field that is left out stays. Not the issuer: under another one the
    same subjects would be other people."""

    model_config = ConfigDict(extra="forbid")
    name: Name = ""
    client_id: ClientId = ""
    client_secret: ClientSecret | None = None
    domains: Domains = Field(default_factory=list)
    default_role: Role = None
    is_enforced: Enforced = False
    is_active: bool = True


class SsoDomainOut(BaseModel):
    """A domain that a connection claims. It counts while it is proven: by a TXT record
    ``record_name`` that says ``record_value``, or by whoever runs the installation."""

    domain: str
    state: Literal["pending", "proven"]
    proven_by: Literal["dns", "host"] | None
    proven_at: datetime | None
    checked_at: datetime | None = Field(description="When the DNS was asked last")
    last_check: Literal["found", "absent", "unreachable"] | None = Field(
        description="unreachable: the DNS did not answer, which says nothing of the record"
    )
    failing_since: datetime | None = Field(
        description="Since when the record of a proven domain is absent; after three days the "
        "domain is pending again"
    )
    record_name: str
    record_value: str


class SsoConnectionOut(BaseModel):
    """A connection; its secret is never shown. ``people``: how many have come in by it."""

    id: UUID
    name: str
    issuer: str
    client_id: str
    redirect_uri: str = Field(description="To be registered at the provider")
    domains: list[str]
    domain_proofs: list[SsoDomainOut] = Field(
        description="The same domains with their proofs: only a proven one finds the provider"
    )
    default_role: DefaultRole | None
    is_enforced: bool
    is_active: bool
    people: int
    created_at: datetime
    updated_at: datetime


class SsoConnectionQuery(ListQuery):
    """The filters and sorts of the list."""

    is_active: bool | None = None
    sort: Literal["created_at", "-created_at"] = "created_at"


class SsoCheckOut(BaseModel):
    """One step of a connection's test. ``detail`` says what is wrong, null where nothing is."""

    step: Literal["discovery", "keys"]
    is_ok: bool
    detail: str | None


class SsoChecksOut(BaseModel):
    """What a connection's test found, up to the first step that is wrong."""

    is_ok: bool
    checks: list[SsoCheckOut]


class SsoPersonOut(BaseModel):
    """Somebody who has come in by a connection. ``subject`` is what the provider calls them."""

    id: UUID
    user_id: UUID
    subject: str
    created_at: datetime
    last_login_at: datetime
