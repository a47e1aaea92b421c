"""Bots, templates and what a preview tells, on the wire."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from neurant.api.listing import ListQuery
from neurant.companies.schemas import Timezone
from neurant.core.text_types import IS_NAME, STORABLE, Text, formatted
from neurant.core.url_types import HttpsUrl

Day = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
DAYS: tuple[Day, ...] = (
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
)
Tone = Literal["friendly", "professional", "helpful", "expert"]
TONES: tuple[Tone, ...] = ("friendly", "professional", "helpful", "expert")
Trigger = Literal["no_answer", "user_request", "keywords"]
TRIGGERS: tuple[Trigger, ...] = ("no_answer", "user_request", "keywords")
Category = Literal["customer_service", "sales", "support"]

_Start = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", examples=["08:00"])]
_End = Annotated[str, Field(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$", examples=["18:00"])]


def _not_empty(interval: tuple[str, str]) -> tuple[str, str]:
    if interval[0] == interval[1]:
        raise ValueError("an interval begins and ends at different times")
    return interval


def _some(hours: dict[Day, list[Any]]) -> dict[Day, list[Any]]:
    if hours and not any(hours.values()):
        raise ValueError("at least one day has an interval; {} sets no hours")
    return hours


_Interval = Annotated[
    tuple[_Start, _End], AfterValidator(_not_empty), Field(json_schema_extra={"uniqueItems": True})
]
_OPEN_DAYS: list[JsonValue] = [
    {"required": [day], "properties": {day: {"minItems": 1}}} for day in DAYS
]
WorkingHours = Annotated[
    dict[Day, Annotated[list[_Interval], Field(max_length=6)]],
    AfterValidator(_some),
    Field(json_schema_extra={"anyOf": [{"maxProperties": 0}, *_OPEN_DAYS]}),
]
"""When people attend, by weekday: [["08:00", "12:00"], …] by the clock of the bot's time zone. An
interval that ends before it begins ends on the next day; {} sets no hours."""

Name = Annotated[
    str,
    Field(min_length=1, max_length=255, pattern=r"\S"),
    formatted("name"),
    IS_NAME,
    STORABLE,
]
Prompt = Annotated[Text, Field(min_length=10, max_length=5000)]
Persona = Annotated[
    str,
    Field(
        min_length=1,
        max_length=60,
        pattern=r"^[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
    ),
    STORABLE,
]
Keyword = Annotated[str, Field(min_length=1, max_length=100, pattern=r"\S"), STORABLE]


class Personality(BaseModel):
    """How a bot speaks: what it calls itself, and in which words it greets and thanks."""

    model_config = ConfigDict(extra="forbid")

    tone: Tone | None = None
    language: Literal["es", "en"] | None = None
    persona: Persona | None = None


class ChatbotPatch(BaseModel):
    """What may be changed of a bot; a field that is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: Name = ""
    description: Annotated[Text, Field(max_length=2000)] | None = None
    avatar_url: HttpsUrl | None = None
    system_prompt: Prompt = ""
    personality_traits: Personality = Personality()
    response_delay_ms: int = Field(default=0, ge=0, le=10_000)
    max_context_messages: int = Field(default=1, ge=1, le=50)
    fallback_message: Annotated[Text, Field(max_length=1000)] | None = None
    is_active: bool = False
    working_hours: WorkingHours = Field(default_factory=dict)
    timezone: Timezone = ""
    hitl_enabled: bool = False
    hitl_triggers: Annotated[list[Trigger], Field(max_length=3)] = Field(default_factory=list)
    hitl_trigger_keywords: Annotated[list[Keyword], Field(max_length=100)] = Field(
        default_factory=list
    )
    auto_escalate_after_minutes: int = Field(default=1, ge=1, le=1440)


class Placeholders(BaseModel):
    """What fills a template's prompt where the company's own profile is not what it should say."""

    model_config = ConfigDict(extra="forbid")

    company_name: Annotated[Text, Field(min_length=1, max_length=255)] = ""
    knowledge: Annotated[Text, Field(min_length=1, max_length=500)] = ""
    contact: Annotated[Text, Field(min_length=1, max_length=255)] = ""


class ChatbotIn(ChatbotPatch):
    """A new bot. What is left out comes from the template, else from the defaults; without a
    template ``system_prompt`` is needed."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["system_prompt"]},
                {"required": ["template_id"], "properties": {"template_id": {"type": "string"}}},
            ]
        }
    )

    template_id: UUID | None = None
    placeholders: Placeholders = Placeholders()


class ChatbotOut(BaseModel):
    """A bot with its settings, the kinds of its connected channels, and its figures."""

    id: UUID
    name: str
    description: str | None
    avatar_url: str | None
    system_prompt: str
    personality_traits: dict[str, Any]
    response_delay_ms: int
    max_context_messages: int
    fallback_message: str | None
    is_active: bool
    working_hours: dict[str, list[list[str]]]
    timezone: str
    hitl_enabled: bool
    hitl_triggers: list[str]
    hitl_trigger_keywords: list[str]
    auto_escalate_after_minutes: int
    channels: list[str]
    template_id: UUID | None
    total_conversations: int
    total_messages: int
    avg_response_time_ms: int | None
    satisfaction_score: Decimal | None
    created_at: datetime
    updated_at: datetime
    retired_at: datetime | None


class ChatbotQuery(ListQuery):
    """The filters and sorts of the list."""

    is_active: bool | None = None
    is_retired: bool = False
    sort: Literal["name", "-name", "created_at", "-created_at"] = "name"


class Turn(BaseModel):
    """One line of an example conversation."""

    model_config = ConfigDict(populate_by_name=True)

    speaker: Literal["customer", "bot"] = Field(alias="from")
    text: str


class Example(BaseModel):
    """An example conversation."""

    title: str
    turns: list[Turn]


class TemplateOut(BaseModel):
    """What a bot can begin from. ``system_prompt_template`` holds {{company_name}}, {{persona}},
    {{knowledge}} and {{contact}}, which are filled when a bot is made."""

    id: UUID
    name: str
    description: str
    industry: str
    category: str
    system_prompt_template: str
    default_personality: dict[str, Any]
    recommended_settings: dict[str, Any]
    example_conversations: list[Example]
    usage_count: int
    is_featured: bool


class TemplateQuery(ListQuery):
    """The filters and sorts of the list."""

    industry: Annotated[str, Field(max_length=100)] | None = None
    category: Category | None = None
    is_featured: bool | None = None
    sort: Literal["name", "-name", "usage_count", "-usage_count"] = "name"


class OperatorOut(BaseModel):
    """An operador who serves a bot, and since when."""

    user_id: UUID
    first_name: str
    last_name: str
    assigned_at: datetime
    is_available: bool


class SupervisorOut(BaseModel):
    """The supervisor in charge of a bot."""

    user_id: UUID
    first_name: str
    last_name: str
    assigned_at: datetime


class PreviewIn(BaseModel):
    """What a customer would say, and settings to try that are not saved."""

    model_config = ConfigDict(extra="forbid")

    message: Annotated[Text, Field(min_length=1, max_length=4000)]
    last_bot_text: Annotated[Text, Field(max_length=5000)] | None = Field(
        default=None, description="What the bot said last: a yes may answer its offer"
    )
    settings: ChatbotPatch = Field(default_factory=ChatbotPatch)


class PreviewSource(BaseModel):
    """Where an answer stands; ``quote`` is literal text of the document."""

    document: str
    page: int | None
    quote: str


class PreviewOut(BaseModel):
    """What the bot would do. Nothing was stored, sent or counted.

    ``decided_by``: inactive, empty, user_request, keywords, small_talk, documents, no_answer.
    ``is_open`` and ``opens_at`` matter when it would hand over: out of hours the customer waits
    until then. ``system_line`` is what the customer would read of that.
    """

    action: Literal["answer", "escalate", "notice"]
    decided_by: str
    text: str | None
    keyword: str | None
    system_line: str | None
    sources: list[PreviewSource]
    confidence: float | None
    is_open: bool
    opens_at: datetime | None
    processing_ms: int
