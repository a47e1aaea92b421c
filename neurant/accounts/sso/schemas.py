"""The bodies of the endpoints for a company's connections to identity providers."""

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
        description="Name on the sign-in button, such as “Acme Entra ID”",
    ),
    formatted("name"),
    IS_NAME,
    STORABLE,
]
Issuer = Annotated[
    str,
    AfterValidator(_visible),
    Field(max_length=500, description="Issuer exactly as the provider writes it, with https"),
    formatted("issuer"),
]
ClientId = Annotated[
    str,
    Field(
        max_length=255,
        pattern=r"^[ -~]*[!-~][ -~]*$",
        description="Client identifier that the provider gave",
    ),
]
ClientSecret = Annotated[
    SecretStr,
    AfterValidator(_storable_secret),
    Field(
        min_length=1,
        max_length=2000,
        description="Client secret from the provider; never shown again. null: none",
    ),
]
Domains = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=253), formatted("mail-domain"), STORABLE]],
    Field(
        max_length=20,
        description="E-mail domains whose people use the provider, once they are proven",
    ),
]
Role = Annotated[
    DefaultRole | None,
    Field(
        description="Role of a person who arrives without an invitation; null: only invited people"
    ),
]
Enforced = Annotated[
    bool,
    Field(description="Whether people of its domains cannot use a password; the owner always can"),
]


class SsoConnectionNew(BaseModel):
    """A new connection to an identity provider."""

    model_config = ConfigDict(extra="forbid")
    name: Name
    issuer: Issuer
    client_id: ClientId = Field(description="Client identifier that the provider gave")
    client_secret: ClientSecret | None = Field(
        default=None, description="Client secret from the provider; never shown again. null: none"
    )
    domains: Domains = Field(default_factory=list)
    default_role: Role = None
    is_enforced: Enforced = False
    is_active: bool = Field(
        default=True, description="Whether people can sign in with the connection"
    )


class SsoConnectionPatch(BaseModel):
    """The fields that may be changed; a field that is left out keeps its value.

    The issuer cannot change, because the same subjects of another issuer would be other people.
    """

    model_config = ConfigDict(extra="forbid")
    name: Name = ""
    client_id: ClientId = Field(default="", description="Client identifier that the provider gave")
    client_secret: ClientSecret | None = Field(
        default=None, description="Client secret from the provider; never shown again. null: none"
    )
    domains: Domains = Field(default_factory=list)
    default_role: Role = None
    is_enforced: Enforced = False
    is_active: bool = Field(
        default=True, description="Whether people can sign in with the connection"
    )


class SsoDomainOut(BaseModel):
    """A domain that a connection claims.

    It takes effect while it is proven: by a TXT record ``record_name`` with the value
    ``record_value``, or by the host of the installation.
    """

    domain: str = Field(description="Mail domain in ASCII and lower case")
    state: Literal["pending", "proven"] = Field(
        description="proven: the domain takes effect; pending: the proof is missing"
    )
    proven_by: Literal["dns", "host"] | None = Field(
        description="dns: by the TXT record; host: by the host of the installation; null: pending"
    )
    proven_at: datetime | None = Field(
        description="When the domain was proven; null: it is pending"
    )
    checked_at: datetime | None = Field(description="When the DNS was last asked; null: never")
    last_check: Literal["found", "absent", "unreachable"] | None = Field(
        description="Result of the last look-up; unreachable: the DNS did not answer; null: none "
        "yet"
    )
    failing_since: datetime | None = Field(
        description="Since when the record of a proven domain is absent; after three days the "
        "domain is pending again"
    )
    record_name: str = Field(description="Name of the TXT record to publish")
    record_value: str = Field(description="Value of the TXT record to publish")


class SsoConnectionOut(BaseModel):
    """A connection to an identity provider; its secret is never shown."""

    id: UUID = Field(description="UUID of the connection")
    name: str = Field(description="Text on the sign-in button")
    issuer: str = Field(description="Address by which the provider identifies itself")
    client_id: str = Field(description="Client identifier that the provider gave")
    redirect_uri: str = Field(description="Address to register at the provider as redirect URI")
    domains: list[str] = Field(description="Mail domains that the connection claims")
    domain_proofs: list[SsoDomainOut] = Field(
        description="The same domains with their proofs; only a proven domain takes effect"
    )
    default_role: DefaultRole | None = Field(
        description="Role of a person who arrives without an invitation; null: only invited people"
    )
    is_enforced: bool = Field(
        description="Whether people of its domains cannot use a password; the owner always can"
    )
    is_active: bool = Field(description="Whether people can sign in with the connection")
    people: int = Field(description="Number of people who have signed in with it")
    created_at: datetime = Field(description="When the connection was created")
    updated_at: datetime = Field(description="When the connection was last changed")


class SsoConnectionQuery(ListQuery):
    """The filters and sorts of the list."""

    is_active: bool | None = Field(
        default=None, description="true: only active connections; false: only inactive ones"
    )
    sort: Literal["created_at", "-created_at"] = Field(
        default="created_at", description="Order of the rows; - reverses it"
    )


class SsoCheckOut(BaseModel):
    """One step of the test of a connection."""

    step: Literal["discovery", "keys"] = Field(
        description="discovery: the provider's description; keys: its signing keys"
    )
    is_ok: bool = Field(description="Whether the step succeeded")
    detail: str | None = Field(description="Cause of the failure, for a person; null: none")


class SsoChecksOut(BaseModel):
    """The result of a connection's test, up to the first step that failed."""

    is_ok: bool = Field(description="Whether every step succeeded")
    checks: list[SsoCheckOut] = Field(
        description="The steps in their order, up to the first failure"
    )


class SsoPersonOut(BaseModel):
    """A person who has signed in with a connection."""

    id: UUID = Field(description="UUID of the link between person and provider")
    user_id: UUID = Field(description="UUID of the person in the company")
    subject: str = Field(description="Identifier of the person at the provider")
    created_at: datetime = Field(description="When the person first signed in with the connection")
    last_login_at: datetime = Field(
        description="When the person last signed in with the connection"
    )
