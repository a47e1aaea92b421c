"""Audit on the wire."""

from __future__ import annotations

from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from neurant.api.listing import ListQuery
from neurant.core.text_types import Text
from neurant.core.timestamps import Moment

Action = Literal[
    "login",
    "logout",
    "create",
    "read",
    "update",
    "delete",
    "escalate_hitl",
    "resolve_hitl",
    "upload_document",
    "integration_sync",
    "login_denied",
    "assign",
    "unassign",
    "transfer",
    "archive",
    "restore",
    "export",
    "erase",
    "denied",
]
"""The values of ``audit_action_enum``; a test holds the two equal."""

ResourceType = Annotated[str, Field(pattern=r"^[a-z_]{1,100}$")]
RequestId = Annotated[Text, Field(min_length=1, max_length=255)]
Network = IPv4Network | IPv6Network
MOST_SEALS = 5000


class AuditLogOut(BaseModel):
    """Something that was done. What people write, and who they are, is kept as digests."""

    id: UUID
    created_at: datetime
    action: str
    resource_type: str
    resource_id: UUID | None
    user_id: UUID | None = Field(description="Who; of an API key its maker (details.key_id)")
    user_name: str | None = Field(description="As it is today; null: erased, or nobody's doing")
    user_role: str | None = Field(description="As which role, then")
    details: dict[str, Any]
    ip_address: Network | None = Field(description="The network only: /24, or /48 of IPv6")
    user_agent: str | None = Field(description="A digest: it tells one browser from another")
    session_id: str | None
    request_id: str | None


class AuditFilters(BaseModel):
    """What can be looked for; also of the exports."""

    model_config = ConfigDict(extra="forbid")

    action: Action | None = None
    resource_type: ResourceType | None = None
    resource_id: UUID | None = None
    user_id: UUID | None = None
    request_id: RequestId | None = None
    since: Moment | None = Field(default=None, description="From this moment on")
    until: Moment | None = Field(default=None, description="Before this moment")


class AuditQuery(ListQuery, AuditFilters):
    """The filters and sorts of the list."""

    sort: Literal["created_at", "-created_at"] = "-created_at"


class VerificationQuery(BaseModel):
    """Which part of the chain to check."""

    model_config = ConfigDict(extra="forbid")

    after: int | None = Field(
        default=None, ge=0, lt=2**62, description="Seals after this one; the newest where not given"
    )
    limit: int = Field(default=1000, ge=1, le=MOST_SEALS)


class ProblemOut(BaseModel):
    """Something that is not as it was written."""

    kind: str
    seq: int | None
    audit_id: UUID | None


class VerificationOut(BaseModel):
    """The state of the chain, and what checking a part of it found.

    What is recomputed here stands on what the database says of itself; that nobody rewrote all of
    it is told by the signed heads outside (``neurant audit verify``).
    """

    ok: bool
    sealed: int = Field(description="Seals in the chain")
    head: str = Field(description="The chain's last hash, in hex")
    sealed_at: datetime | None
    exported: int = Field(description="Up to which seal a signed head was put outside")
    checked_from: int | None
    checked_to: int | None
    problems: list[ProblemOut]
    next_after: int | None = Field(description="Where to go on; null: the end of the chain")
