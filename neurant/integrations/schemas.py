"""Integrations on the wire. What is secret goes in and never comes out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from neurant.api.listing import ListQuery
from neurant.core.text_types import IS_LABEL, STORABLE, Text, formatted
from neurant.core.timestamps import Moment
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
    str, Field(min_length=1, max_length=4000, pattern=r"^[\x21-\x7e]+$", description="Write-only")
]
SettingName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,49}$")]
WholeNumber = Annotated[StrictInt, Field(ge=-(2**53), le=2**53)]
Setting = Annotated[Text, Field(max_length=1000)] | StrictBool | WholeNumber | None
SettingsOf = Annotated[
    dict[SettingName, Setting],
    Field(max_length=50, json_schema_extra={"additionalProperties": False}),
]


class IntegrationConfig(BaseModel):
    """Where the other system is and how it is entered. Kept sealed; replaced as a whole."""

    model_config = ConfigDict(extra="forbid")

    url: HttpsUrl | None = None
    host: Annotated[str, Field(pattern=r"^[a-z0-9.-]{1,253}$")] | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    database: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,63}$")] | None = None
    resource: Annotated[str, Field(pattern=r"^[A-Za-z0-9_@.-]{1,500}$")] | None = Field(
        default=None, description="The document, sheet, calendar, mailbox or base"
    )
    username: Annotated[Text, Field(min_length=1, max_length=255)] | None = None
    password: Annotated[Text, Field(min_length=1, max_length=1000)] | None = None


class IntegrationOut(BaseModel):
    """Another system that bots may ask, without its secrets."""

    id: UUID
    name: str
    integration_type: Kind
    description: str | None
    auth_type: Auth
    settings: dict[str, Any]
    expires_at: datetime | None
    is_active: bool
    sync_status: Literal["pending", "syncing", "success", "error"]
    last_sync_at: datetime | None
    last_error: str | None
    total_requests: int
    successful_requests: int
    failed_requests: int
    created_by: UUID
    created_at: datetime
    updated_at: datetime


class IntegrationIn(BaseModel):
    """A new one."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    integration_type: Kind
    description: Description | None = None
    auth_type: Auth = "api_key"
    settings: SettingsOf = Field(default_factory=dict)
    config: IntegrationConfig = Field(default_factory=IntegrationConfig)
    api_key: Secret | None = None
    oauth_token: Secret | None = None
    expires_at: Moment | None = None


class IntegrationPatch(BaseModel):
    """What may be changed; a field that is left out stays, null empties it."""

    model_config = ConfigDict(extra="forbid")

    name: Name = ""
    description: Description | None = None
    auth_type: Auth = "api_key"
    settings: SettingsOf = Field(default_factory=dict)
    config: IntegrationConfig = Field(default_factory=IntegrationConfig)
    api_key: Secret | None = None
    oauth_token: Secret | None = None
    expires_at: Moment | None = None
    is_active: bool = Field(default=True, description="One that is not takes no place in the plan")


class IntegrationQuery(ListQuery):
    """The filters and sorts of the list."""

    integration_type: Kind | None = None
    is_active: bool | None = None
    sort: Literal["name", "-name", "created_at", "-created_at"] = "name"


class IntegrationLogOut(BaseModel):
    """A request to the other system, and what became of it."""

    id: UUID
    integration_id: UUID
    request_type: str
    endpoint: str
    request_data: Any
    response_status: int | None
    response_data: Any
    response_time_ms: int | None
    triggered_by_message_id: UUID | None
    triggered_by_user_id: UUID | None
    status: Literal["success", "error", "timeout", "rate_limited"]
    error_message: str | None
    created_at: datetime


class IntegrationLogQuery(ListQuery):
    """The filters and sorts of the log."""

    status: Literal["success", "error", "timeout", "rate_limited"] | None = None
    sort: Literal["created_at", "-created_at"] = "-created_at"
