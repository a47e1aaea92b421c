"""The bodies of the endpoints for API keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, get_args
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from neurant.api.listing import ListQuery
from neurant.core.text_types import IS_LABEL, STORABLE, formatted
from neurant.permissions.schemas import Names, ReachOut

Scope = Literal[
    "company.edit",
    "billing.read",
    "users.read",
    "team.read",
    "users.manage",
    "invitations.read",
    "invitations.manage",
    "webhooks.read",
    "webhooks.manage",
    "integrations.read",
    "integrations.manage",
    "language_models.read",
    "language_models.manage",
    "channels.read",
    "channels.manage",
    "chatbots.read",
    "chatbots.edit",
    "chatbots.retire",
    "chatbots.assign_operators",
    "chatbots.assign_supervisor",
    "conversations.read",
    "conversations.reply",
    "conversations.transfer",
    "conversations.assign",
    "conversations.import",
    "canned_responses.read",
    "canned_responses.edit",
    "documents.read",
    "documents.edit",
    "analytics.read",
    "metrics.read",
    "audit.read",
    "data.export",
    "data.erase",
    "data.restore",
]
"""The permissions that a key may have (``for_keys = 'by_scope'``); a test compares the two."""


def _distinct(scopes: list[Scope]) -> list[Scope]:
    if len(set(scopes)) < len(scopes):
        raise ValueError("a scope comes twice")
    return scopes


Scopes = Annotated[
    list[Scope],
    Field(min_length=1, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_distinct),
]
KeyRole = Literal["administrador", "supervisor", "operador"]
KeyState = Literal["active", "expired", "suspended", "revoked"]
Name = Annotated[
    str,
    Field(min_length=1, max_length=100, pattern=r"\S"),
    formatted("name"),
    IS_LABEL,
    STORABLE,
]
MAX_LIFETIME_DAYS = 3650  # days


class KeyOut(BaseModel):
    """An API key without its secret."""

    id: UUID = Field(description="UUID of the key")
    name: str = Field(description="Name that people gave the key")
    prefix: str = Field(description="The first characters of the key, to recognize it")
    role: KeyRole = Field(description="Role with which the key acts at most")
    scopes: list[str] = Field(description="Permissions of the key, within its role")
    state: KeyState = Field(
        description="active; expired; revoked; suspended: the maker is deactivated"
    )
    created_by: UUID = Field(description="The person as whom the key acts and whose role limits it")
    created_by_name: str | None = Field(
        description="Name of that person; null: not visible to the caller"
    )
    created_at: datetime = Field(description="When the key was created")
    last_used_at: datetime | None = Field(
        description="Last use of the key, to the minute; null: never"
    )
    expires_at: datetime | None = Field(description="When the key expires; null: never")
    revoked_at: datetime | None = Field(description="When the key was revoked; null: it was not")


class NewKeyOut(KeyOut):
    """A new API key; no other answer contains the key itself."""

    key: str = Field(description="The key itself; shown once, because only its digest is stored")


class KeyIn(BaseModel):
    """A new API key. It has the weaker of its role and the role of its maker, within its scopes."""

    model_config = ConfigDict(extra="forbid")

    name: Name = Field(description="Name for people, such as the system that uses the key")
    role: KeyRole = Field(description="Role with which the key acts at most")
    scopes: Scopes = Field(
        description="Permissions of the key; a permission to change something includes its read "
        "permission"
    )
    expires_in_days: int | None = Field(
        default=None,
        ge=1,
        le=MAX_LIFETIME_DAYS,
        description="Days until the key expires; null: it is valid until it is revoked",
    )


def with_reads(scopes: set[Scope]) -> set[Scope]:
    """Return the scopes, each with the read permission of its object if there is one."""
    reads = {f"{scope.partition('.')[0]}.read" for scope in scopes}
    return scopes | {known for known in get_args(Scope) if known in reads}


class KeyPatch(BaseModel):
    """The field that may be changed. Role and scopes of a key cannot change; make another
    key instead.
    """

    model_config = ConfigDict(extra="forbid")

    name: Name = Field(default="", description="New name of the key")


class KeyQuery(ListQuery):
    """The filters and sorts of the list."""

    state: KeyState | None = Field(default=None, description="Only keys in this state")
    sort: Literal["created_at", "-created_at", "name", "-name"] = Field(
        default="-created_at", description="Order of the rows; - reverses it"
    )


class ScopeOut(BaseModel):
    """A permission that an API key may have, and the roles that have it."""

    name: str = Field(description="Name of the permission, as scopes use it")
    object: str = Field(description="Kind of resource: the part of the name before the point")
    object_names: Names = Field(description="The kind of resource in words")
    operation_names: Names = Field(description="The operation in words")
    reach: ReachOut = Field(description="How far the permission goes for each role")


class ScopesOut(BaseModel):
    """All permissions that an API key may have."""

    data: list[ScopeOut] = Field(
        description="The permissions, in the order in which pages show them"
    )
