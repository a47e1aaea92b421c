"""The bodies of the endpoints for the audit."""

from __future__ import annotations

from datetime import datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from neurant.api.listing import ListQuery
from neurant.core.text_types import Text
from neurant.core.timestamps import Timestamp

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
"""The values of ``audit_action_enum``; a test compares the two."""

ResourceType = Annotated[str, Field(pattern=r"^[a-z_]{1,100}$")]
RequestId = Annotated[Text, Field(min_length=1, max_length=255)]
Network = IPv4Network | IPv6Network
MAX_SEALS = 5000


class AuditLogOut(BaseModel):
    """A recorded action. Texts that people wrote, and personal data, are stored as digests."""

    id: UUID = Field(description="UUID of the row")
    created_at: datetime = Field(description="When the action happened")
    action: str = Field(description="Kind of action, such as create or login")
    resource_type: str = Field(description="Kind of resource, such as chatbots")
    resource_id: UUID | None = Field(description="UUID of the resource; null: none")
    user_id: UUID | None = Field(
        description="The person who acted; for an API key its maker (details.key_id); null: nobody"
    )
    user_name: str | None = Field(
        description="Current name of the person; null: erased, or nobody acted"
    )
    user_role: str | None = Field(description="Role of the person at that time; null: nobody acted")
    details: dict[str, Any] = Field(
        description="Facts of the action; texts and personal data are digests"
    )
    ip_address: Network | None = Field(
        description="Network of the caller: /24, or /48 for IPv6; null: unknown"
    )
    user_agent: str | None = Field(
        description="Digest of the user agent, which distinguishes browsers; null: unknown"
    )
    session_id: str | None = Field(description="Identifier of the session; null: none")
    request_id: str | None = Field(
        description="Identifier of the request; null: the action had no request"
    )


class AuditFilters(BaseModel):
    """The filters of the list and of the export."""

    model_config = ConfigDict(extra="forbid")

    action: Action | None = Field(default=None, description="Only this kind of action")
    resource_type: ResourceType | None = Field(
        default=None, description="Only actions on this kind of resource, such as chatbots"
    )
    resource_id: UUID | None = Field(
        default=None, description="Only actions on the resource with this UUID"
    )
    user_id: UUID | None = Field(default=None, description="Only actions of this person")
    request_id: RequestId | None = Field(
        default=None, description="Only actions of the request with this identifier"
    )
    since: Timestamp | None = Field(default=None, description="Only actions at this time or later")
    until: Timestamp | None = Field(default=None, description="Only actions before this time")


class AuditQuery(ListQuery, AuditFilters):
    """The filters and sorts of the list."""

    sort: Literal["created_at", "-created_at"] = Field(
        default="-created_at", description="Order of the rows; - reverses it"
    )


class VerificationQuery(BaseModel):
    """The part of the chain to check."""

    model_config = ConfigDict(extra="forbid")

    after: int | None = Field(
        default=None,
        ge=0,
        lt=2**62,
        description="Check the seals after this number; null: check the newest",
    )
    limit: int = Field(
        default=1000, ge=1, le=MAX_SEALS, description="Maximum number of seals to check"
    )


class ProblemOut(BaseModel):
    """A difference between the audit and its seals."""

    kind: str = Field(description="Kind of difference, such as row_changed or seal_missing")
    seq: int | None = Field(description="Number of the seal; null: none")
    audit_id: UUID | None = Field(description="UUID of the audit row; null: not known")


class VerificationOut(BaseModel):
    """The state of the chain, and the result of checking a part of it.

    The check relies on the database alone. Only a comparison with the signed chain heads outside
    the database (``neurant audit verify``) shows that nobody has rewritten the whole chain.
    """

    ok: bool = Field(description="Whether no difference was found")
    sealed: int = Field(description="Number of seals in the chain")
    head: str = Field(description="Last hash of the chain, in hexadecimal")
    sealed_at: datetime | None = Field(description="When the last seal was made; null: none yet")
    exported: int = Field(
        description="Number of the last seal whose signed head is stored outside the database"
    )
    checked_from: int | None = Field(description="Number of the first checked seal; null: none")
    checked_to: int | None = Field(description="Number of the last checked seal; null: none")
    problems: list[ProblemOut] = Field(description="The differences; at most 20 of each kind")
    next_after: int | None = Field(
        description="Value of after for the next part; null: the chain ends here"
    )
