"""The request and response bodies of plans, usage and the subscription."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from neurant.core.text_types import Text

PlanName = Literal["free", "starter", "professional", "business", "enterprise"]
# Money is serialized as a string with two decimals, because a JSON number may lose precision.
Money = Annotated[Decimal, PlainSerializer(lambda value: f"{value:.2f}", return_type=str)]
Channel = Literal["whatsapp", "telegram", "slack", "web"]


class PlanOut(BaseModel):
    """A plan of the catalogue. A limit of -1 means unlimited."""

    plan: PlanName = Field(description="The name of the plan")
    monthly_price_usd: Money | None = Field(
        description=(
            "The price per month in US dollars, with two decimals; null: there is no list price, "
            "it is agreed with the provider"
        )
    )
    monthly_message_limit: int = Field(
        description="Messages that the bots may send in a month; -1: unlimited"
    )
    max_chatbots: int = Field(description="Chatbots that are not retired; -1: unlimited")
    max_users: int = Field(
        description=(
            "Active users and pending invitations together, the owner included; -1: unlimited"
        )
    )
    max_integrations: int = Field(description="Active integrations; -1: unlimited")
    max_document_characters: int = Field(
        description="Characters of all documents together; -1: unlimited"
    )
    max_storage_mb: int = Field(
        description="Size of all stored files together, in units of 1,048,576 bytes; -1: unlimited"
    )
    max_hitl_concurrent: int = Field(
        description="Conversations that people may attend at the same time; 0: none; -1: unlimited"
    )
    requests_per_minute: int = Field(
        description="API requests per minute, of all callers of the company together"
    )
    channels: list[str] = Field(description="The channels that the plan includes")


class PlansOut(BaseModel):
    """The catalogue of plans."""

    data: list[PlanOut] = Field(description="The plans, the smallest first")


class UsageLine(BaseModel):
    """A limit of the company's plan and how much of it is used at this moment."""

    limit: str = Field(description="The name of the limit, such as ``max_chatbots``")
    used: int = Field(
        description="How much is used: bytes for ``max_storage_mb``, a count for every other limit"
    )
    allowed: int = Field(
        description="How much the plan allows, in the unit of ``used``; -1: unlimited"
    )
    level: Literal["ok", "high", "critical", "reached"] = Field(
        description=(
            "``ok``; ``high`` from 80 per cent; ``critical`` from 95 per cent; ``reached`` when "
            "nothing is left"
        )
    )
    next_plan: PlanName | None = Field(
        description="The cheapest plan that allows more; null: there is none"
    )


class UsageOut(BaseModel):
    """The use of every limit of the company's plan."""

    plan: PlanName = Field(description="The company's plan")
    data: list[UsageLine] = Field(description="One line for each limit")


class ExcessOut(BaseModel):
    """A limit of a smaller plan that the company's use exceeds."""

    limit: str = Field(description="The name of the limit, or ``channels``")
    used: int = Field(
        description=(
            "How much is used: bytes for ``max_storage_mb``, connected accounts of channels that "
            "the plan lacks for ``channels``, a count for every other limit"
        )
    )
    allowed: int = Field(description="How much the smaller plan allows, in the unit of ``used``")


class SubscriptionOut(BaseModel):
    """The company's plan, its state and the changes that are planned."""

    plan: PlanName = Field(description="The plan whose limits apply now")
    status: Literal["active", "inactive", "cancelled", "past_due", "trialing"] = Field(
        description=(
            "The state of the subscription; a company that is ``inactive`` or ``cancelled`` can "
            "only be read and exported"
        )
    )
    ends_at: datetime | None = Field(
        description=(
            "When the trial, the cancelled paid period or the grace period of an overdue payment "
            "ends; for ``inactive`` and ``cancelled``, when that state began; null: the state has "
            "no end"
        )
    )
    next_plan: PlanName | None = Field(description="The plan that follows; null: none is planned")
    changes_at: datetime | None = Field(
        description="When ``next_plan`` begins at the earliest; null: no change is planned"
    )
    requested_plan: PlanName | None = Field(
        description="A larger plan that waits for payment or confirmation; null: none"
    )
    waits_for: list[ExcessOut] = Field(
        description=(
            "The limits of ``next_plan`` that the company's use still exceeds; the change waits "
            "until every one fits"
        )
    )
    billing: Literal["manual", "at_once", "stripe"] = Field(
        description=(
            "How this installation bills: the operator confirms plans (``manual``), a plan begins "
            "without payment (``at_once``), or Stripe takes payments (``stripe``)"
        )
    )
    is_billed_online: bool = Field(
        description="Whether the company pays through an online subscription"
    )


class PlanWish(BaseModel):
    """The plan that the caller chooses."""

    model_config = ConfigDict(extra="forbid")

    plan: PlanName = Field(description="The name of the plan")


class CloseWish(BaseModel):
    """The confirmation that the owner wants to close the company."""

    model_config = ConfigDict(extra="forbid")

    confirm: Text = Field(
        min_length=1,
        max_length=50,
        description="The company's short name, typed to prevent an accidental closure",
    )


class PlanChoiceOut(BaseModel):
    """The result of choosing a plan."""

    outcome: Literal["requested", "scheduled", "applied", "unchanged"] = Field(
        description=(
            "``requested``: the plan begins once it is paid or confirmed; ``scheduled``: it "
            "begins when the paid period ends; ``applied``: it has begun; ``unchanged``: the "
            "company already had it"
        )
    )
    excess: list[ExcessOut] = Field(
        description=(
            "The limits of a smaller plan that the company's use must fit before the plan begins"
        )
    )
    checkout_url: str | None = Field(
        description="The page on which to pay; null: the plan needs no payment there"
    )
    subscription: SubscriptionOut = Field(description="The subscription after the choice")


class LinkOut(BaseModel):
    """A link to a page of the payment provider."""

    url: str = Field(
        description="The address; it is valid for a short time and meant for the owner alone"
    )
