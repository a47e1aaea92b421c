"""People on the wire."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from neurant.api.listing import ListQuery
from neurant.auth.passwords import LONGEST_PASSWORD
from neurant.core.text_types import IS_PERSON, STORABLE, Text, formatted
from neurant.core.url_types import HttpsUrl

Role = Literal["owner", "administrador", "supervisor", "operador"]
GivenRole = Literal["administrador", "supervisor", "operador"]
Name = Annotated[
    str,
    Field(min_length=1, max_length=100, pattern=r"\S"),
    formatted("person-name"),
    IS_PERSON,
    STORABLE,
]
Permission = Annotated[str, Field(max_length=100, pattern=r"^[a-z_]+\.[a-z_]+$")]


class UserOut(BaseModel):
    """A person of the company, as those see them who may."""

    id: UUID
    email: str
    first_name: str
    last_name: str
    avatar_url: str | None
    phone: str | None
    role: Role
    is_active: bool
    denied: list[str] = Field(description="Permissions of the role that this person has not")
    invited_by: UUID | None
    last_login_at: datetime | None
    last_seen_at: datetime | None = Field(description="To the minute; null: never, or not active")
    created_at: datetime
    has_two_step: bool | None = Field(
        description="Asked for a code when signing in; null: told to whoever manages users"
    )


class UserPatch(BaseModel):
    """One's own profile; a field that is left out stays."""

    model_config = ConfigDict(extra="forbid")

    first_name: Name = ""
    last_name: Annotated[Text, Field(max_length=100)] = ""
    phone: Annotated[Text, Field(max_length=50)] | None = None
    avatar_url: HttpsUrl | None = None


class UserQuery(ListQuery):
    """The filters and sorts of the list."""

    role: Role | None = None
    is_active: bool | None = None
    sort: Literal["first_name", "-first_name", "email", "-email", "created_at", "-created_at"] = (
        "first_name"
    )


class RoleIn(BaseModel):
    """The role that somebody gets."""

    model_config = ConfigDict(extra="forbid")

    role: GivenRole


class DeniedIn(BaseModel):
    """Everything that a person may not do although the role may. Empty: the whole role."""

    model_config = ConfigDict(extra="forbid")

    denied: Annotated[list[Permission], Field(max_length=100)]


class OwnershipIn(BaseModel):
    """Who gets the company, and that it is the owner who gives it."""

    model_config = ConfigDict(extra="forbid")

    user_id: UUID
    password: Annotated[
        Text | None,
        Field(max_length=LONGEST_PASSWORD, description="The caller's own, as it is now"),
    ] = None
    code: Annotated[
        Text | None,
        Field(
            max_length=64,
            description="Instead of the password, for who has two-step verification on: of the"
            " authenticator app, or a recovery code. Who comes by single sign-on alone needs"
            " neither, but a session of at most ten minutes",
        ),
    ] = None


class ColleagueOut(BaseModel):
    """An active colleague, as everybody sees them."""

    id: UUID
    first_name: str
    last_name: str
    avatar_url: str | None
    role: Role
    last_seen_at: datetime | None


class TeamOut(BaseModel):
    """The colleagues to whom one may turn."""

    data: list[ColleagueOut]
