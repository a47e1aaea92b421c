"""The interface to an outside payment provider.

Without one (``NEURANT_BILLING`` is ``manual`` or ``at_once``), a chosen plan is a row of
``plan_requests``: the installation's operator confirms it (``neurant company plan``), or it is
confirmed at once. With one, its signed events decide; see
``docs/decisions/0006-plans-and-billing.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from neurant.core.errors import SetupError
from neurant.core.settings import Settings
from neurant.texts import Language


@dataclass(frozen=True, slots=True)
class Payer:
    """A company as the provider knows it; ``subscription_ref`` is set only while one is paid."""

    company_id: UUID
    email: str
    customer_ref: str | None = None
    subscription_ref: str | None = None


@dataclass(frozen=True, slots=True)
class SubscriptionUpdate:
    """The new state of a subscription that was changed here, to send to the provider."""

    company_id: UUID
    subscription_ref: str
    plan: str
    cancels_at_end: bool
    plan_changes: bool


@dataclass(frozen=True, slots=True)
class BillingEvent:
    """An event of the provider, reduced to references and states (``billing_events.facts``)."""

    event_ref: str
    kind: str
    happened_at: datetime
    facts: dict[str, Any] = field(default_factory=dict)


class Biller(Protocol):
    """A payment provider. Every call may raise UnavailableError or another NeurantError."""

    async def checkout(self, payer: Payer, plan: str, language: Language) -> str:
        """Return the URL on which the owner pays for ``plan``; it is valid for a day."""
        ...

    async def upgrade(self, payer: Payer, plan: str) -> None:
        """Charge for a larger plan on the paid subscription; an event reports completion."""
        ...

    async def portal(self, payer: Payer, language: Language) -> str:
        """Return the URL for bills and the card; it is valid for minutes."""
        ...

    async def tell(self, change: SubscriptionUpdate) -> None:
        """Change the provider's subscription to its state here."""
        ...

    def read_event(self, body: bytes, signature: str | None) -> BillingEvent:
        """Parse a signed event. Raises MalformedError for a bad signature, age or body."""
        ...


def require_complete(settings: Settings) -> None:
    """Raise SetupError if the settings of the chosen provider are incomplete."""
    if settings.billing != "stripe":
        return
    for name in ("stripe_secret_key", "stripe_webhook_secret", "stripe_prices"):
        if not getattr(settings, name):
            raise SetupError("setup.billing_incomplete", setting=f"NEURANT_{name.upper()}")


def make_biller(settings: Settings) -> Biller | None:
    """Return the payment provider of this installation, None if it has none.

    Raises SetupError if the settings of the chosen provider are incomplete.
    """
    if settings.billing != "stripe":
        return None
    require_complete(settings)
    from neurant.plans.stripe_billing import (
        StripeBiller,
    )  # imported on use, because its library is large

    return StripeBiller.of(settings)
