"""API keys on the wire."""

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
"""The permissions that a key may have (``for_keys = 'by_scope'``; a test holds the two equal)."""


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
LONGEST_LIFE = 3650  # days


class KeyOut(BaseModel):
    """A key as it is told: what it opens, and whether it is used. Never the key itself."""

    id: UUID
    name: str
    prefix: str = Field(description="The first characters, to tell keys apart")
    role: KeyRole
    scopes: list[str]
    state: KeyState = Field(description="suspended: whoever made it is deactivated")
    created_by: UUID = Field(description="As whom the key acts, and what it is never above")
    created_by_name: str | None
    created_at: datetime
    last_used_at: datetime | None = Field(description="To the minute")
    expires_at: datetime | None
    revoked_at: datetime | None


class NewKeyOut(KeyOut):
    """A key that was just made: the only answer that holds it."""

    key: str = Field(description="Shown once: only its digest is kept")


class KeyIn(BaseModel):
    """A new key, as strong as the weaker of its role and its maker's, within its scopes."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    role: KeyRole
    scopes: Scopes = Field(
        description="What changes something brings the read of the same: its answers show it"
    )
    expires_in_days: int | None = Field(
        default=None, ge=1, le=LONGEST_LIFE, description="null: until it is revoked"
    )


def with_reads(scopes: set[Scope]) -> set[Scope]:
    """The scopes, each with the read of its object, where there is one."""
    reads = {f"{scope.partition('.')[0]}.read" for scope in scopes}
    return scopes | {known for known in get_args(Scope) if known in reads}


class KeyPatch(BaseModel):
    """What may be changed; what a key opens may not: make another one."""

    model_config = ConfigDict(extra="forbid")

    name: Name = ""


class KeyQuery(ListQuery):
    """The filters and sorts of the list."""

    state: KeyState | None = None
    sort: Literal["created_at", "-created_at", "name", "-name"] = "-created_at"


class ScopeOut(BaseModel):
    """A permission that keys may have, and which roles have it."""

    name: str
    object: str
    object_names: Names
    operation_names: Names
    reach: ReachOut


class ScopesOut(BaseModel):
    """All of them."""

    data: list[ScopeOut]
