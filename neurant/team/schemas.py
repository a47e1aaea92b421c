"""The bodies of the endpoints for the people of a company."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from neurant.api.listing import ListQuery
from neurant.auth.passwords import MAX_PASSWORD_LENGTH
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
    """A person of the company, as permitted readers see them."""

    id: UUID = Field(description="UUID of the person in this company")
    email: str = Field(description="E-mail address with which the person signs in")
    first_name: str = Field(description="Given name of the person")
    last_name: str = Field(description="Family name of the person")
    avatar_url: str | None = Field(description="https address of the picture; null: none")
    phone: str | None = Field(description="Telephone number; null: none")
    role: Role = Field(description="Role in the company")
    is_active: bool = Field(description="Whether the person may sign in to the company")
    denied: list[str] = Field(description="Permissions of the role that this person does not have")
    invited_by: UUID | None = Field(description="The person who invited them; null: nobody did")
    last_login_at: datetime | None = Field(description="Last sign-in to the company; null: never")
    last_seen_at: datetime | None = Field(
        description="Last activity, to the minute; null: never, or the person is deactivated"
    )
    created_at: datetime = Field(description="When the person joined the company")
    has_two_step: bool | None = Field(
        description="Whether the person signs in with a second step; null: the caller may not "
        "manage users"
    )


class UserPatch(BaseModel):
    """Changes of the caller's own profile; a field that is left out keeps its value."""

    model_config = ConfigDict(extra="forbid")

    first_name: Name = Field(default="", description="Given name of the person")
    last_name: Annotated[Text, Field(max_length=100)] = Field(
        default="", description="Family name of the person"
    )
    phone: Annotated[Text, Field(max_length=50)] | None = Field(
        default=None, description="Telephone number; null: none"
    )
    avatar_url: HttpsUrl | None = Field(
        default=None, description="https address of a picture; null: none"
    )


class UserQuery(ListQuery):
    """The filters and sorts of the list."""

    role: Role | None = Field(default=None, description="Only people with this role")
    is_active: bool | None = Field(
        default=None, description="true: only active people; false: only deactivated ones"
    )
    sort: Literal["first_name", "-first_name", "email", "-email", "created_at", "-created_at"] = (
        Field(default="first_name", description="Order of the rows; - reverses it")
    )


class RoleIn(BaseModel):
    """The new role of a person."""

    model_config = ConfigDict(extra="forbid")

    role: GivenRole = Field(description="New role, which is below the role of the caller")


class DeniedIn(BaseModel):
    """All permissions of the role that the person does not have. Empty: the person has
    the whole role.
    """

    model_config = ConfigDict(extra="forbid")

    denied: Annotated[list[Permission], Field(max_length=100)] = Field(
        description="Names of the permissions that the person does not have"
    )


class OwnershipIn(BaseModel):
    """The new owner, and the proof that the caller is the owner."""

    model_config = ConfigDict(extra="forbid")

    user_id: UUID = Field(description="UUID of the active colleague who becomes the owner")
    password: Annotated[
        Text | None,
        Field(
            max_length=MAX_PASSWORD_LENGTH,
            description="Current password of the caller; null: not given",
        ),
    ] = None
    code: Annotated[
        Text | None,
        Field(
            max_length=64,
            description="Code of the authenticator app, or a recovery code; required instead of the"
            " password if two-step verification is on. A person who uses only single sign-on gives"
            " neither and needs a session that is less than ten minutes old",
        ),
    ] = None


class ColleagueOut(BaseModel):
    """An active colleague, as every member sees them."""

    id: UUID = Field(description="UUID of the person in this company")
    first_name: str = Field(description="Given name of the person")
    last_name: str = Field(description="Family name of the person")
    avatar_url: str | None = Field(description="https address of the picture; null: none")
    role: Role = Field(description="Role in the company")
    last_seen_at: datetime | None = Field(description="Last activity, to the minute; null: never")


class TeamOut(BaseModel):
    """The colleagues to whom a conversation can be transferred."""

    data: list[ColleagueOut] = Field(description="The active colleagues, all at once")
