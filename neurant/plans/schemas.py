"""Plans, usage and subscription on the wire."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from neurant.core.text_types import Text

PlanName = Literal["free", "starter", "professional", "business", "enterprise"]
# Money is exact: two decimals, as a text.
Money = Annotated[Decimal, PlainSerializer(lambda value: f"{value:.2f}", return_type=str)]
Channel = Literal["whatsapp", "telegram", "slack", "web"]


class PlanOut(BaseModel):
    """A plan of the catalogue. -1 is unlimited; without a price it is arranged with us."""

    plan: PlanName
    monthly_price_usd: Money | None
    monthly_message_limit: int
    max_chatbots: int
    max_users: int
    max_integrations: int
    max_document_characters: int
    max_storage_mb: int
    max_hitl_concurrent: int
    requests_per_minute: int
    channels: list[str]


class PlansOut(BaseModel):
    """The catalogue, the smallest first."""

    data: list[PlanOut]


class UsageLine(BaseModel):
    """A limit and its use, exact at this moment (storage in bytes, the rest counted).

    ``level``: ok, high (from 80 %), critical (from 95 %), reached; ``next_plan``: the cheapest
    that allows more.
    """

    limit: str
    used: int
    allowed: int
    level: Literal["ok", "high", "critical", "reached"]
    next_plan: PlanName | None


class UsageOut(BaseModel):
    """All limits of the company's plan."""

    plan: PlanName
    data: list[UsageLine]


class ExcessOut(BaseModel):
    """A limit of the smaller plan in which the use does not fit yet."""

    limit: str
    used: int
    allowed: int


class SubscriptionOut(BaseModel):
    """The company's plan and what becomes of it.

    ``ends_at``: when the state ends (the trial; paid time that was cancelled; the days in which a
    missing payment is waited for), or, inactive and cancelled, since when it is so.
    """

    plan: PlanName
    status: Literal["active", "inactive", "cancelled", "past_due", "trialing"]
    ends_at: datetime | None
    next_plan: PlanName | None
    changes_at: datetime | None
    requested_plan: PlanName | None
    waits_for: list[ExcessOut] = Field(description="What the next plan waits for")
    billing: Literal["manual", "at_once", "stripe"]
    is_billed_online: bool


class PlanWish(BaseModel):
    """The plan that is wanted."""

    model_config = ConfigDict(extra="forbid")

    plan: PlanName


class CloseWish(BaseModel):
    """The company's short name, typed: nobody closes a company by mistake."""

    model_config = ConfigDict(extra="forbid")

    confirm: Text = Field(min_length=1, max_length=50, description="The company's short name")


class PlanChoiceOut(BaseModel):
    """What became of it: requested (it begins once it is paid or confirmed), scheduled (for the end
    of what is paid), applied or unchanged."""

    outcome: Literal["requested", "scheduled", "applied", "unchanged"]
    excess: list[ExcessOut] = Field(description="What must fit before a smaller plan begins")
    checkout_url: str | None = Field(description="Where to pay, if that is how it begins")
    subscription: SubscriptionOut


class LinkOut(BaseModel):
    """A page of whoever bills; good for a short time, for the owner alone."""

    url: str
