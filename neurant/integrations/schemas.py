"""The request and response bodies of integrations. Secrets are accepted and never returned."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Path
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from neurant.api.listing import ListQuery
from neurant.core.text_types import IS_LABEL, STORABLE, Text, formatted
from neurant.core.timestamps import Timestamp
from neurant.core.url_types import HttpsUrl

Kind = Literal[
    "google_docs",
    "google_sheets",
    "google_calendar",
    "google_gmail",
    "airtable",
    "mysql",
    "postgresql",
    "api_webhook",
]
Auth = Literal["api_key", "oauth2", "basic_auth", "bearer_token"]
Name = Annotated[
    str,
    Field(min_length=1, max_length=255, pattern=r"\S"),
    formatted("name"),
    IS_LABEL,
    STORABLE,
]
Description = Annotated[str, Field(min_length=1, max_length=5000, pattern=r"\S"), STORABLE]
Secret = Annotated[
    str,
    Field(
        min_length=1,
        max_length=4000,
        pattern=r"^[\x21-\x7e]+$",
        description="A secret; it is never returned",
    ),
]
SettingName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,49}$")]
WholeNumber = Annotated[StrictInt, Field(ge=-(2**53), le=2**53)]
Setting = Annotated[Text, Field(max_length=1000)] | StrictBool | WholeNumber | None
SettingsOf = Annotated[
    dict[SettingName, Setting],
    Field(max_length=50, json_schema_extra={"additionalProperties": False}),
]


IntegrationId = Annotated[UUID, Path(description="UUID of the integration that was called")]


class IntegrationConfig(BaseModel):
    """The address and the credentials of the external system, stored encrypted."""

    model_config = ConfigDict(extra="forbid")

    url: HttpsUrl | None = Field(
        default=None, description="The HTTPS address of the system; null: not used"
    )
    host: Annotated[str, Field(pattern=r"^[a-z0-9.-]{1,253}$")] | None = Field(
        default=None, description="The host name or address of a database server; null: not used"
    )
    port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        default=None, description="The TCP port of the database server; null: the default"
    )
    database: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,63}$")] | None = Field(
        default=None, description="The name of the database; null: not used"
    )
    resource: Annotated[str, Field(pattern=r"^[A-Za-z0-9_@.-]{1,500}$")] | None = Field(
        default=None,
        description="The id of the document, sheet, calendar, mailbox or base; null: not used",
    )
    username: Annotated[Text, Field(min_length=1, max_length=255)] | None = Field(
        default=None, description="The user name for the system; null: not used"
    )
    password: Annotated[Text, Field(min_length=1, max_length=1000)] | None = Field(
        default=None,
        description="The password for the system; it is never returned; null: not used",
    )


class IntegrationOut(BaseModel):
    """An external system that the bots may query, without its secrets."""

    id: UUID = Field(description="UUID of the integration that was called")
    name: str = Field(description="The name that the company gave it")
    integration_type: Kind = Field(description="The kind of system")
    description: str | None = Field(description="What the integration is for; null: none")
    auth_type: Auth = Field(description="How NeurAnt authenticates to the system")
    settings: dict[str, Any] = Field(description="Settings of the integration, by name")
    expires_at: datetime | None = Field(
        description="When the credentials expire; null: they do not, or it is unknown"
    )
    is_active: bool = Field(
        description="Whether the integration is in use; only active ones count in the plan"
    )
    sync_status: Literal["pending", "syncing", "success", "error"] = Field(
        description="The state of the last synchronization"
    )
    last_sync_at: datetime | None = Field(description="When it was last synchronized; null: never")
    last_error: str | None = Field(description="The last error of the system; null: none")
    total_requests: int = Field(description="How many requests were made to the system")
    successful_requests: int = Field(description="How many of the requests succeeded")
    failed_requests: int = Field(description="How many of the requests failed")
    created_by: UUID = Field(description="The id of the user who created it")
    created_at: datetime = Field(description="When it was created")
    updated_at: datetime = Field(description="When it was last changed")


class IntegrationIn(BaseModel):
    """A new integration."""

    model_config = ConfigDict(extra="forbid")

    name: Name = Field(description="The name of the integration")
    integration_type: Kind = Field(description="The kind of system")
    description: Description | None = Field(
        default=None, description="What the integration is for; null: none"
    )
    auth_type: Auth = Field(
        default="api_key", description="How NeurAnt authenticates to the system"
    )
    settings: SettingsOf = Field(
        default_factory=dict, description="Settings of the integration, by name"
    )
    config: IntegrationConfig = Field(
        default_factory=IntegrationConfig,
        description="The address and the credentials of the system",
    )
    api_key: Secret | None = Field(
        default=None, description="An API key for the system; it is never returned; null: none"
    )
    oauth_token: Secret | None = Field(
        default=None, description="An OAuth token for the system; it is never returned; null: none"
    )
    expires_at: Timestamp | None = Field(
        default=None, description="When the credentials expire; null: they do not, or it is unknown"
    )


class IntegrationPatch(BaseModel):
    """The fields to change. A field that is left out stays, and null clears it."""

    model_config = ConfigDict(extra="forbid")

    name: Name = Field(default="", description="The name of the integration")
    description: Description | None = Field(
        default=None, description="What the integration is for; null: none"
    )
    auth_type: Auth = Field(
        default="api_key", description="How NeurAnt authenticates to the system"
    )
    settings: SettingsOf = Field(
        default_factory=dict,
        description="Settings of the integration, by name; replaced as a whole",
    )
    config: IntegrationConfig = Field(
        default_factory=IntegrationConfig,
        description="The address and the credentials of the system; replaced as a whole",
    )
    api_key: Secret | None = Field(
        default=None, description="An API key for the system; it is never returned; null: delete it"
    )
    oauth_token: Secret | None = Field(
        default=None,
        description="An OAuth token for the system; it is never returned; null: delete it",
    )
    expires_at: Timestamp | None = Field(
        default=None, description="When the credentials expire; null: they do not, or it is unknown"
    )
    is_active: bool = Field(
        default=True,
        description="Whether the integration is in use; an inactive one does not count in the plan",
    )


class IntegrationQuery(ListQuery):
    """The filters and the order of the list."""

    integration_type: Kind | None = Field(
        default=None, description="Only integrations of this kind; omitted: all kinds"
    )
    is_active: bool | None = Field(
        default=None,
        description="Only active (true) or inactive (false) integrations; omitted: both",
    )
    sort: Literal["name", "-name", "created_at", "-created_at"] = Field(
        default="name", description="The field to sort by; ``-`` means descending"
    )


class IntegrationLogOut(BaseModel):
    """A request to the external system and its result."""

    id: UUID = Field(description="The id of the log entry")
    integration_id: UUID = Field(description="UUID of the integration that was called")
    request_type: str = Field(description="The kind of request")
    endpoint: str = Field(description="The address or resource that was requested")
    request_data: Any = Field(description="The data that were sent; null: none")
    response_status: int | None = Field(
        description="The HTTP status of the answer; null: there was no answer"
    )
    response_data: Any = Field(description="The data of the answer; null: none")
    response_time_ms: int | None = Field(
        description="How long the answer took, in milliseconds; null: unknown"
    )
    triggered_by_message_id: UUID | None = Field(
        description="The message that caused the request; null: none"
    )
    triggered_by_user_id: UUID | None = Field(
        description="The user who caused the request; null: none"
    )
    status: Literal["success", "error", "timeout", "rate_limited"] = Field(
        description="The result of the request"
    )
    error_message: str | None = Field(description="Why the request failed; null: it did not fail")
    created_at: datetime = Field(description="When the request was made")


class IntegrationLogQuery(ListQuery):
    """The filters and the order of the log."""

    status: Literal["success", "error", "timeout", "rate_limited"] | None = Field(
        default=None, description="Only requests with this result; omitted: all results"
    )
    sort: Literal["created_at", "-created_at"] = Field(
        default="-created_at", description="The field to sort by; ``-`` means descending"
    )
