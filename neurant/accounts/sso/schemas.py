"""What crosses the wire about a company's connections to identity providers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

DefaultRole = Literal["supervisor", "operador"]
Plain = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, pattern=r"^[^\x00]*$")
]
Name = Annotated[Plain, Field(max_length=100, description="What the button says: “Acme Entra ID”")]
Issuer = Annotated[
    Plain, Field(max_length=500, description="Exactly as the provider calls itself; https")
]
ClientId = Annotated[Plain, Field(max_length=255)]
ClientSecret = Annotated[
    SecretStr, Field(min_length=1, max_length=2000, description="Taken, and never shown again")
]
Domains = Annotated[
    list[Annotated[Plain, Field(max_length=253)]],
    Field(max_length=20, description="E-mail domains of the company that it speaks for"),
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


class SsoConnectionChange(BaseModel):
    """What is given changes. The issuer never does: its subjects would be other people."""

    model_config = ConfigDict(extra="forbid")
    name: Name | None = None
    client_id: ClientId | None = None
    client_secret: ClientSecret | None = None
    domains: Domains | None = None
    default_role: Role = None
    is_enforced: Enforced | None = None
    is_active: bool | None = None


class SsoConnectionOut(BaseModel):
    """A connection; its secret is never shown. ``people``: how many have come in by it."""

    id: UUID
    name: str
    issuer: str
    client_id: str
    redirect_uri: str = Field(description="To be registered at the provider")
    domains: list[str]
    default_role: DefaultRole | None
    is_enforced: bool
    is_active: bool
    people: int
    created_at: datetime
    updated_at: datetime


class SsoCheckOut(BaseModel):
    """One step of a connection's test. ``detail`` says what is wrong, null where nothing is."""

    step: Literal["discovery", "keys"]
    is_ok: bool
    detail: str | None
