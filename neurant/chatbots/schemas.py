"""The bodies of the endpoints for bots, templates and previews."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from neurant.api.listing import ListQuery
from neurant.companies.schemas import Timezone
from neurant.conversations.explanation import ExplanationOut
from neurant.core.text_types import IS_NAME, STORABLE, Text, formatted
from neurant.core.url_types import HttpsUrl
from neurant.texts.address import Address, Style

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
"""The hours of service by weekday: [["08:00", "12:00"], …] in the bot's time zone. An interval that
ends before it begins ends on the next day; {} sets no hours."""

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
    """The personality of a bot: its name for itself, and how it speaks."""

    model_config = ConfigDict(extra="forbid")

    tone: Tone | None = Field(
        default=None, description="Tone of greetings and thanks; null: the standard tone"
    )
    language: Literal["es", "en"] | None = Field(
        default=None, description="Language of the bot: es or en; null: that of the customer"
    )
    persona: Persona | None = Field(
        default=None, description="Name by which the bot calls itself; null: none"
    )
    address: Address | None = Field(
        default=None,
        description="Form of address in Spanish: tu, usted or vos; null: usted for the tone"
        " professional, else the usual form in the country of the time zone",
    )
    style: Style | None = Field(
        default=None,
        description="concise: short phrases; detailed: with more help; null: the standard phrases",
    )


class ChatbotPatch(BaseModel):
    """Changes of a bot; a field that is left out keeps its value."""

    model_config = ConfigDict(extra="forbid")

    name: Name = Field(default="", description="Name of the bot, unique within the company")
    description: Annotated[Text, Field(max_length=2000)] | None = Field(
        default=None, description="Notes about the bot for the team; null: none"
    )
    avatar_url: HttpsUrl | None = Field(
        default=None, description="https address of the picture; null: none"
    )
    system_prompt: Prompt = Field(
        default="",
        description="Instructions that describe what the bot does, of 10 to 5000 characters",
    )
    personality_traits: Personality = Field(
        default=Personality(), description="Tone, language, persona, form of address and style"
    )
    response_delay_ms: int = Field(
        default=0, ge=0, le=10_000, description="Delay before an answer, in milliseconds"
    )
    max_context_messages: int = Field(
        default=1,
        ge=1,
        le=50,
        description="Number of messages before the open question that a reply reads",
    )
    fallback_message: Annotated[Text, Field(max_length=1000)] | None = Field(
        default=None,
        description="Text whenever the bot has no answer, also before it hands over; null: a"
        " standard text",
    )
    is_active: bool = Field(
        default=False, description="Whether the bot answers; a paused bot says so once"
    )
    working_hours: WorkingHours = Field(
        default_factory=dict,
        description="Hours of service by weekday, as start and end times; {}: no hours are set",
    )
    timezone: Timezone = Field(
        default="", description="IANA time zone of the working hours, such as America/Bogota"
    )
    hitl_enabled: bool = Field(
        default=False, description="Whether the bot may hand a conversation over to a person"
    )
    hitl_triggers: Annotated[list[Trigger], Field(max_length=3)] = Field(
        default_factory=list,
        description="Events that hand over: no_answer, user_request or keywords",
    )
    hitl_trigger_keywords: Annotated[list[Keyword], Field(max_length=100)] = Field(
        default_factory=list, description="Words of a customer that hand the conversation over"
    )
    auto_escalate_after_minutes: int = Field(
        default=1,
        ge=1,
        le=1440,
        description="Minutes without an answer by a person before the request is escalated",
    )


class Placeholders(BaseModel):
    """Values for a template's prompt that replace those of the company's profile."""

    model_config = ConfigDict(extra="forbid")

    company_name: Annotated[Text, Field(min_length=1, max_length=255)] = Field(
        default="", description="Text for {{company_name}} in the prompt"
    )
    knowledge: Annotated[Text, Field(min_length=1, max_length=500)] = Field(
        default="", description="Text for {{knowledge}}: the sources of the bot's answers"
    )
    contact: Annotated[Text, Field(min_length=1, max_length=255)] = Field(
        default="", description="Text for {{contact}}: how customers reach the company"
    )


class ChatbotIn(ChatbotPatch):
    """A new bot. A field that is left out comes from the template, else from the defaults.

    Without a template, ``system_prompt`` is required.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["system_prompt"]},
                {"required": ["template_id"], "properties": {"template_id": {"type": "string"}}},
            ]
        }
    )

    template_id: UUID | None = Field(
        default=None, description="UUID of the template to begin with; null: none"
    )
    placeholders: Placeholders = Field(
        default=Placeholders(), description="Values that fill the prompt of the template"
    )


class ChatbotOut(BaseModel):
    """A bot with its settings, the kinds of its connected channels, and its figures."""

    id: UUID = Field(description="UUID of the bot")
    name: str = Field(description="Name of the bot, unique within the company")
    description: str | None = Field(description="Notes about the bot for the team; null: none")
    avatar_url: str | None = Field(description="https address of the picture; null: none")
    system_prompt: str = Field(
        description="Instructions that describe what the bot does, of 10 to 5000 characters"
    )
    personality_traits: dict[str, Any] = Field(description="Tone, language and persona of the bot")
    response_delay_ms: int = Field(description="Delay before an answer, in milliseconds")
    max_context_messages: int = Field(
        description="Number of messages before the open question that a reply reads"
    )
    fallback_message: str | None = Field(
        description="Text whenever the bot has no answer, also before it hands over; null: a"
        " standard text"
    )
    is_active: bool = Field(description="Whether the bot answers; a paused bot says so once")
    working_hours: dict[str, list[list[str]]] = Field(
        description="Hours of service by weekday, as start and end times; {}: no hours are set"
    )
    timezone: str = Field(description="IANA time zone of the working hours, such as America/Bogota")
    hitl_enabled: bool = Field(
        description="Whether the bot may hand a conversation over to a person"
    )
    hitl_triggers: list[str] = Field(
        description="Events that hand over: no_answer, user_request or keywords"
    )
    hitl_trigger_keywords: list[str] = Field(
        description="Words of a customer that hand the conversation over"
    )
    auto_escalate_after_minutes: int = Field(
        description="Minutes without an answer by a person before the request is escalated"
    )
    channels: list[str] = Field(
        description="Kinds of the connected channels, such as web or telegram"
    )
    template_id: UUID | None = Field(
        description="UUID of the template it was created from; null: none"
    )
    total_conversations: int = Field(description="Number of conversations so far")
    total_messages: int = Field(description="Number of messages so far")
    avg_response_time_ms: int | None = Field(
        description="Average time to an answer, in milliseconds; null: no answer yet"
    )
    satisfaction_score: Decimal | None = Field(
        description="Average rating from 1 to 5; null: no rating yet"
    )
    created_at: datetime = Field(description="When the bot was created")
    updated_at: datetime = Field(description="When the settings last changed")
    retired_at: datetime | None = Field(
        description="When the bot was retired; null: it is in service"
    )


class ChatbotQuery(ListQuery):
    """The filters and sorts of the list."""

    is_active: bool | None = Field(
        default=None, description="true: only bots that answer; false: only paused ones"
    )
    is_retired: bool = Field(
        default=False, description="true: only retired bots; false: only bots in service"
    )
    sort: Literal["name", "-name", "created_at", "-created_at"] = Field(
        default="name", description="Order of the rows; - reverses it"
    )


class Turn(BaseModel):
    """One line of an example conversation."""

    model_config = ConfigDict(populate_by_name=True)

    speaker: Literal["customer", "bot"] = Field(
        alias="from", description="Speaker of the line: customer or bot"
    )
    text: str = Field(description="Text of the line, as the speaker says it")


class Example(BaseModel):
    """An example conversation."""

    title: str = Field(description="Short title of the example")
    turns: list[Turn] = Field(description="Lines of the conversation, in order")


class TemplateOut(BaseModel):
    """A template from which a bot can be created.

    ``system_prompt_template`` contains {{company_name}}, {{persona}}, {{knowledge}} and
    {{contact}}, which are replaced when a bot is created.
    """

    id: UUID = Field(description="UUID of the template")
    name: str = Field(description="Name of the template, for people")
    description: str = Field(description="What a bot of this template does")
    industry: str = Field(description="Industry that the template is made for")
    category: str = Field(description="Purpose: customer_service, sales or support")
    system_prompt_template: str = Field(description="Prompt with the placeholders to replace")
    default_personality: dict[str, Any] = Field(
        description="Tone, language and persona that the template proposes"
    )
    recommended_settings: dict[str, Any] = Field(
        description="Settings that the template proposes, by field of a bot"
    )
    example_conversations: list[Example] = Field(
        description="Example conversations with such a bot"
    )
    usage_count: int = Field(description="Number of bots created from the template")
    is_featured: bool = Field(description="Whether the template is shown first")


class TemplateQuery(ListQuery):
    """The filters and sorts of the list."""

    industry: Annotated[str, Field(max_length=100)] | None = Field(
        default=None, description="Only templates for this industry"
    )
    category: Category | None = Field(default=None, description="Only templates for this purpose")
    is_featured: bool | None = Field(
        default=None, description="true: only featured templates; false: only others"
    )
    sort: Literal["name", "-name", "usage_count", "-usage_count"] = Field(
        default="name", description="Order of the rows; - reverses it"
    )


class OperatorOut(BaseModel):
    """An operador who serves a bot."""

    user_id: UUID = Field(description="UUID of the operador")
    first_name: str = Field(description="Given name of the operador")
    last_name: str = Field(description="Family name of the operador")
    assigned_at: datetime = Field(description="When the operador was assigned")
    is_available: bool = Field(description="Whether the operador is active in the company")


class SupervisorOut(BaseModel):
    """The supervisor in charge of a bot."""

    user_id: UUID = Field(description="UUID of the supervisor")
    first_name: str = Field(description="Given name of the supervisor")
    last_name: str = Field(description="Family name of the supervisor")
    assigned_at: datetime = Field(description="When the supervisor was put in charge")


class PreviewEarlier(BaseModel):
    """A message before the one that is tried."""

    model_config = ConfigDict(extra="forbid")

    sender: Literal["customer", "bot"] = Field(description="Who wrote it: customer or bot")
    text: Annotated[Text, Field(min_length=1, max_length=5000)] = Field(
        description="Text of the message"
    )


class PreviewIn(BaseModel):
    """A message of a customer, and settings to try that are not saved."""

    model_config = ConfigDict(extra="forbid")

    message: Annotated[Text, Field(min_length=1, max_length=4000)] = Field(
        description="Text that a customer would write"
    )
    last_bot_text: Annotated[Text, Field(max_length=5000)] | None = Field(
        default=None,
        description="Previous text of the bot, to which the message may refer; null: none",
    )
    earlier: list[PreviewEarlier] = Field(
        default_factory=list,
        max_length=50,
        description="Messages before it, oldest first, to which it may refer",
    )
    settings: ChatbotPatch = Field(
        default_factory=ChatbotPatch, description="Settings of the bot to try, which are not saved"
    )


class PreviewSource(BaseModel):
    """The source of an answer."""

    document: str = Field(description="Title or file name of the document")
    page: int | None = Field(description="Page in the document; null: it has no pages")
    quote: str = Field(description="Literal text of the document")


class PromptMessage(BaseModel):
    """A message of the prompt that a language model received."""

    role: Literal["system", "user", "assistant"] = Field(description="Author of the message")
    content: str = Field(description="Text exactly as it was sent")


class PreviewOut(BaseModel):
    """The reaction of the bot to a message. Nothing was stored or sent; only what a language model
    used is counted.
    """

    action: Literal["answer", "escalate", "notice"] = Field(
        description="answer: the bot answers; escalate: it hands over; notice: it shows a notice"
    )
    decided_by: str = Field(
        description="inactive, empty, user_request, keywords, small_talk, identity, insult, "
        "off_topic, location, contact, request, complaint, emergency, advice, documents "
        "or no_answer"
    )
    text: str | None = Field(description="Text of the answer; null: the action is a notice")
    keyword: str | None = Field(description="Keyword that handed over; null: none did")
    system_line: str | None = Field(description="Notice that the customer would read; null: none")
    sources: list[PreviewSource] = Field(description="Passages of documents that the answer quotes")
    confidence: float | None = Field(
        description="Probability from 0 to 1 that the best passage answers, also where the bot does"
        " not answer; null: no passage was compared"
    )
    is_open: bool = Field(description="Whether people attend now, by the working hours")
    opens_at: datetime | None = Field(
        description="When people attend next; null: they attend now, or no hours are set"
    )
    prompt: list[PromptMessage] | None = Field(
        description="Prompt that the language model received, exactly as it was sent; null: no"
        " model was asked"
    )
    model: str | None = Field(
        description="Language model that was asked, or whose budget is used up; null: the company"
        " uses none, or there was no passage to answer from"
    )
    model_failure: str | None = Field(
        description="Why the quote of a document stands in for the model's answer: spent (no"
        " budget), late (too little time is left), unsupported (not in the documents), leaked"
        " (repeats the instructions), empty, or the end of an error code language_models.*, such as"
        " timeout; null: it does not"
    )
    processing_ms: int = Field(description="Time to compute the preview, in milliseconds")
    explanation: ExplanationOut = Field(description="Why the bot would answer so")
