"""The bodies of the endpoints for a company's profile and its creation."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from neurant.core.text_types import IS_NAME, STORABLE, formatted
from neurant.core.url_types import HttpsUrl

Step = Literal["plan", "bot", "documents", "test"]
Size = Literal["1", "2-10", "11-50", "51-200", "201-1000", "1001+"]
SIZES: tuple[Size, ...] = ("1", "2-10", "11-50", "51-200", "201-1000", "1001+")


# Only zones with the name of a place and UTC are accepted, as by the database (is_timezone).
_PLACE = re.compile(r"UTC|[A-Z][A-Za-z_]+(/[A-Z][A-Za-z0-9_+-]+){1,2}")
ZONES = frozenset(filter(_PLACE.fullmatch, available_timezones()))


def _known_zone(name: str) -> str:
    if name not in ZONES:
        raise ValueError("not the name of a time zone, such as America/Bogota")
    return name


def _address(email: str) -> str:
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", email):
        raise ValueError("an e-mail address")
    return email


Timezone = Annotated[
    str,
    Field(max_length=50),
    formatted("timezone"),
    AfterValidator(_known_zone),
]
Website = Annotated[str, Field(max_length=255, pattern=r"^https?://[!-~]+$"), STORABLE]
CompanyName = Annotated[
    str,
    Field(min_length=2, max_length=100, pattern=r"\S.*\S"),
    formatted("name"),
    IS_NAME,
    STORABLE,
]
Industry = Annotated[str, Field(max_length=100, pattern=r"^[a-z_]+$")]
Phone = Annotated[
    str, Field(min_length=5, max_length=50, pattern=r"^[0-9+() .\-/extEXT]+$"), STORABLE
]
Email = Annotated[
    str, AfterValidator(_address), Field(max_length=255), formatted("mail-address"), STORABLE
]
Slug = Annotated[str, Field(max_length=50, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]


VisitorsPerHour = Annotated[
    int,
    Field(
        ge=1,
        le=100_000,
        description="New conversations of web chat visitors that the company accepts per hour;"
        " null: the number of its plan",
    ),
]


class IndustryOut(BaseModel):
    """An industry that a company can choose, with its name in each language."""

    industry: str = Field(description="Stable name of the industry, for requests")
    es: str = Field(description="The name in Spanish")
    en: str = Field(description="The name in English")


class CompanyPatch(BaseModel):
    """Changes of the profile; a field that is left out keeps its value."""

    model_config = ConfigDict(extra="forbid")

    name: CompanyName = Field(default="", description="Name that people see, unlike the short name")
    email: Email = Field(default="", description="E-mail address of the company")
    phone: Phone | None = Field(default=None, description="Telephone number; null: not given")
    industry: Industry | None = Field(
        default=None, description="Industry from GET /v1/industries; null: not given"
    )
    size: Size | None = Field(
        default=None, description="Number of people in the company; null: not given"
    )
    website: Website | None = Field(
        default=None, description="Address of the company's website; null: none"
    )
    logo_url: HttpsUrl | None = Field(
        default=None, description="https address of the logo; null: none"
    )
    timezone: Timezone = Field(default="", description="IANA time zone, such as America/Bogota")
    visitor_conversations_per_hour: VisitorsPerHour | None = Field(
        default=None,
        description="New conversations of web chat visitors that the company accepts per hour; "
        "null: the number of its plan",
    )


class CompanyOut(BaseModel):
    """The company's profile."""

    id: UUID = Field(description="UUID of the company")
    name: str = Field(description="Name that people see, unlike the short name")
    slug: str = Field(description="Short name that is unique on this installation")
    email: str = Field(description="E-mail address of the company")
    phone: str | None = Field(description="Telephone number; null: not given")
    industry: str | None = Field(description="Industry from GET /v1/industries; null: not given")
    size: str | None = Field(description="Number of people in the company; null: not given")
    website: str | None = Field(description="Address of the company's website; null: none")
    logo_url: str | None = Field(description="https address of the logo; null: none")
    timezone: str = Field(description="IANA time zone, such as America/Bogota")
    visitor_conversations_per_hour: int | None = Field(
        description="The company's own limit of new visitor conversations per hour; null: that of "
        "its plan"
    )
    plan_visitor_conversations_per_hour: int = Field(
        description="The plan's limit of new visitor conversations per hour"
    )
    subscription_plan: str = Field(description="Plan of the company, such as free")
    subscription_status: str = Field(
        description="State of the subscription, such as active, past_due or cancelled"
    )
    created_at: datetime = Field(description="When the company was created")
    updated_at: datetime = Field(description="When the profile was last changed")


class CompanyIn(BaseModel):
    """A company to create."""

    model_config = ConfigDict(extra="forbid")

    name: CompanyName = Field(description="Name that people see, unlike the short name")
    slug: Slug | None = Field(default=None, description="Short name; null: derived from the name")
    industry: Industry = Field(description="Industry from GET /v1/industries")
    size: Size | None = Field(
        default=None, description="Number of people in the company; null: not given"
    )
    website: Website | None = Field(
        default=None, description="Address of the company's website; null: none"
    )
    phone: Phone | None = Field(default=None, description="Telephone number; null: not given")
    timezone: Timezone = Field(
        default="America/Bogota", description="IANA time zone, such as America/Bogota"
    )


class FoundedOut(BaseModel):
    """A company that was just created, on the plan of new companies."""

    id: UUID = Field(description="UUID of the company")
    slug: str = Field(description="Short name that is unique on this installation")


class SlugSuggestions(BaseModel):
    """The short name that a name makes, whether it is free, and up to three free alternatives."""

    slug: str = Field(description="Short name that the name makes")
    is_free: bool = Field(description="Whether no company uses the short name")
    alternatives: list[str] = Field(description="Up to three short names that are free")


class OnboardingOut(BaseModel):
    """The state of the set-up: its next step and its checklist (``has_bot`` to ``has_tested``)."""

    next_step: Step | None = Field(
        description="Next step of the set-up: plan, bot, documents or test; null: all are done"
    )
    has_bot: bool = Field(description="Whether the company has a bot")
    has_channel: bool = Field(description="Whether a channel is connected")
    has_document: bool = Field(description="Whether a document was read or waits to be read")
    has_team: bool = Field(description="Whether colleagues were invited or joined")
    has_tested: bool = Field(description="Whether somebody tested a bot")
    done: int = Field(description="Number of checklist items that are complete")
    total: int = Field(
        description="Number of checklist items; documents count only if the plan allows them"
    )
    is_hidden: bool = Field(description="Whether the checklist is not shown any more")


class OnboardingIn(BaseModel):
    """A step that leaves no other trace."""

    model_config = ConfigDict(extra="forbid")

    step: Literal["plan", "skip_bot", "skip_documents", "hide"] = Field(
        description="plan: the plan was seen; skip_bot: the bot is created later; skip_documents: "
        "documents are added later; hide: hide the checklist"
    )
