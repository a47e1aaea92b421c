"""The bodies of the endpoints for a company's language model, whose key is never returned."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from neurant.core.text_types import STORABLE

BaseUrl = Annotated[
    str,
    Field(
        max_length=500,
        pattern=r"^https?://[^\s/?#@]{1,255}(/[!-\"$->@-~]{0,240})?$",
        examples=["https://models.example.com/v1"],
    ),
    STORABLE,
]
ModelName = Annotated[
    str,
    Field(min_length=1, max_length=100, pattern=r"^[!-~]+$", examples=["small-model"]),
]
ApiKey = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"^[!-~]+$")]
Price = Annotated[Decimal, Field(ge=0, le=1_000_000, decimal_places=4)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", examples=["USD"])]
_URL = "Address before /chat/completions, usually with /v1 at its end; null: none"
_MODEL = "Name of the model as the endpoint knows it; null: none"
_TIMEOUT = "Longest time for one answer with all retries, in seconds"
_LENGTH = "Maximum length of one answer in tokens"
_TOKENS = "Budget of a calendar month in tokens, input and output together; null: no limit"
_COST = "Budget of a calendar month in money, in ``currency``; null: no limit"
_INPUT = "Price of a million input tokens, in ``currency``"
_OUTPUT = "Price of a million output tokens, in ``currency``"
_ACTIVE = "Whether the model writes the answers; false: answers are quotes of documents"


class LanguageModelIn(BaseModel):
    """The settings of the company's language model; a field that is left out gets its default."""

    model_config = ConfigDict(extra="forbid")

    base_url: BaseUrl | None = Field(default=None, description=_URL)
    model: ModelName | None = Field(default=None, description=_MODEL)
    api_key: ApiKey | None = Field(
        default=None,
        description="API key of the endpoint; it is never returned. Left out: the stored key stays,"
        " unless the address changes. Null: no key",
    )
    timeout_seconds: int = Field(default=10, ge=1, le=15, description=_TIMEOUT)
    max_tokens: int = Field(default=500, ge=50, le=4000, description=_LENGTH)
    monthly_tokens: Annotated[int, Field(ge=0, le=10**12)] | None = Field(
        default=None, description=_TOKENS
    )
    monthly_cost: Annotated[Decimal, Field(ge=0, le=10**9, decimal_places=2)] | None = Field(
        default=None, description=_COST
    )
    input_price: Price = Field(default=Decimal(0), description=_INPUT)
    output_price: Price = Field(default=Decimal(0), description=_OUTPUT)
    currency: Currency = Field(default="USD", description="Currency of prices and budget")
    is_active: bool = Field(default=False, description=_ACTIVE)


class ModelUsageOut(BaseModel):
    """The use of one model in one calendar month."""

    month: date = Field(description="First day of the month, in the company's time zone")
    is_platform: bool = Field(description="Whether it was the platform's model")
    model: str = Field(description="Name of the model")
    calls: int = Field(description="Number of calls, also of those that failed")
    fallbacks: int = Field(
        description="Replies for which the quote of a document stood in, because the model failed,"
        " its answer had no support, or the budget was used up"
    )
    input_tokens: int = Field(description="Tokens of the prompts")
    output_tokens: int = Field(description="Tokens of the answers")
    cost: Decimal = Field(description="Cost by the prices that were set at the time")
    currency: str = Field(description="Currency of the cost")


class LanguageModelOut(BaseModel):
    """The company's language model, without its key, and its use."""

    source: Literal["own", "platform", "none"] = Field(
        description="Model that writes the answers now: the company's own, the platform's, or none"
    )
    is_configured: bool = Field(
        description="Whether the company has settings of its own; else those of the platform hold"
    )
    base_url: str | None = Field(description=_URL)
    model: str | None = Field(description=_MODEL)
    has_api_key: bool = Field(description="Whether an API key is stored")
    timeout_seconds: int = Field(description=_TIMEOUT)
    max_tokens: int = Field(description=_LENGTH)
    monthly_tokens: int | None = Field(description=_TOKENS)
    monthly_cost: Decimal | None = Field(description=_COST)
    input_price: Decimal = Field(description=_INPUT)
    output_price: Decimal = Field(description=_OUTPUT)
    currency: str = Field(description="Currency of prices and budget")
    is_active: bool = Field(description=_ACTIVE)
    updated_at: datetime | None = Field(
        description="When the settings were last changed; null: the company has none of its own"
    )
    used_tokens: int = Field(description="Tokens that count against this month's budget")
    used_cost: Decimal = Field(description="Cost that counts against this month's budget")
    usage: list[ModelUsageOut] = Field(description="Use of the last 12 months, newest first")


class ModelTestOut(BaseModel):
    """The result of a test of the model that is used now."""

    is_ok: bool = Field(description="Whether both answers, in one piece and streamed, came")
    model: str = Field(description="Name of the model")
    code: str | None = Field(
        description="Code of the problem, such as language_models.key_refused; null: there is none"
    )
    detail: str = Field(description="The result for a person, in the caller's language")
    milliseconds: int = Field(description="Time of both answers together")
