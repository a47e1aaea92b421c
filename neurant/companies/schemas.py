"""A company's profile and its founding, on the wire."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from neurant.core.text_types import IS_NAME, STORABLE, formatted
from neurant.core.url_types import HttpsUrl

Size = Literal["1", "2-10", "11-50", "51-200", "201-1000", "1001+"]
SIZES: tuple[Size, ...] = ("1", "2-10", "11-50", "51-200", "201-1000", "1001+")


# A clock that people live by has the name of a place, as the database holds (is_timezone).
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
        description="New conversations of web chat visitors that the company takes in an hour;"
        " null: the number of its plan",
    ),
]


class IndustryOut(BaseModel):
    """What a company may say that it does, by its name in each language."""

    industry: str
    es: str
    en: str


class CompanyPatch(BaseModel):
    """What may be changed of the profile; a field that is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: CompanyName = ""
    email: Email = ""
    phone: Phone | None = None
    industry: Industry | None = None
    size: Size | None = None
    website: Website | None = None
    logo_url: HttpsUrl | None = None
    timezone: Timezone = ""
    visitor_conversations_per_hour: VisitorsPerHour | None = None


class CompanyOut(BaseModel):
    """The company's profile."""

    id: UUID
    name: str
    slug: str
    email: str
    phone: str | None
    industry: str | None
    size: str | None
    website: str | None
    logo_url: str | None
    timezone: str
    visitor_conversations_per_hour: int | None = Field(
        description="The company's own number; null: that of its plan"
    )
    plan_visitor_conversations_per_hour: int
    subscription_plan: str
    subscription_status: str
    created_at: datetime
    updated_at: datetime


class CompanyIn(BaseModel):
    """A company to found. Without ``slug`` one is made of the name."""

    model_config = ConfigDict(extra="forbid")

    name: CompanyName
    slug: Slug | None = None
    industry: Industry
    size: Size | None = None
    website: Website | None = None
    phone: Phone | None = None
    timezone: Timezone = "America/Bogota"


class FoundedOut(BaseModel):
    """A company that was founded just now, on the free plan."""

    id: UUID
    slug: str


class SlugSuggestions(BaseModel):
    """The short name that a name makes, whether it is free, and up to three that are."""

    slug: str
    is_free: bool
    alternatives: list[str]


class OnboardingOut(BaseModel):
    """How far the set-up is. ``next_step``: plan, bot, test; null when all is passed.

    The checklist is ``has_bot`` to ``has_tested``; ``done`` of ``total`` are: without documents
    where the plan holds none.
    """

    next_step: Literal["plan", "bot", "test"] | None
    has_bot: bool
    has_channel: bool
    has_document: bool
    has_team: bool
    has_tested: bool
    done: int
    total: int
    is_hidden: bool


class OnboardingIn(BaseModel):
    """A step that leaves no other trace."""

    model_config = ConfigDict(extra="forbid")

    step: Literal["plan", "skip_bot", "hide"]
