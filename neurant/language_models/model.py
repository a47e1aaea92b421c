"""A company's model with its prices and its budget, and what it has used."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from uuid import UUID

from neurant.language_models.client import Endpoint

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Use:
    """The use of a model by a reply, a trial or a test."""

    is_platform: bool
    model: str
    currency: str
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = Decimal(0)
    fallbacks: int = 0

    def plus(self, other: Use) -> Use:
        """Return the use of both; they are of the same model."""
        return replace(
            self,
            calls=self.calls + other.calls,
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cost=self.cost + other.cost,
            fallbacks=self.fallbacks + other.fallbacks,
        )


@dataclass(frozen=True, slots=True)
class Model:
    """The model that writes a company's answers, with its budget and its use of this month."""

    company_id: UUID
    is_platform: bool
    endpoint: Endpoint
    input_price: Decimal
    output_price: Decimal
    currency: str
    monthly_tokens: int | None
    monthly_cost: Decimal | None
    used_tokens: int
    used_cost: Decimal

    @property
    def is_spent(self) -> bool:
        """True if the month's budget of tokens or of money is used up."""
        tokens, cost = self.monthly_tokens, self.monthly_cost
        return (tokens is not None and self.used_tokens >= tokens) or (
            cost is not None and self.used_cost >= cost
        )

    def nothing_used(self) -> Use:
        """Return the use of no call."""
        return Use(self.is_platform, self.endpoint.model, self.currency)

    def use_of(self, input_tokens: int, output_tokens: int) -> Use:
        """Return the use of one call by the model's prices."""
        cost = input_tokens * self.input_price + output_tokens * self.output_price
        return replace(
            self.nothing_used(),
            calls=1,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cost=cost / _MILLION,
        )
