"""Who is paid, and how we hear of it: the one interface to an outside biller.

Without one (``NEURANT_BILLING``: ``manual``, ``at_once``) an owner's wish is a row of
``plan_requests``: the installation's operator confirms it (``neurant company plan``), or it is
confirmed at once. With one, what it tells (signed events) decides; see
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
    """A company as its biller knows it; ``subscription_ref`` only while one is paid for."""

    company_id: UUID
    email: str
    customer_ref: str | None = None
    subscription_ref: str | None = None


@dataclass(frozen=True, slots=True)
class ToTell:
    """What the biller must be told of a subscription that was changed here."""

    company_id: UUID
    subscription_ref: str
    plan: str
    cancels_at_end: bool
    plan_changes: bool


@dataclass(frozen=True, slots=True)
class BillingEvent:
    """What the biller tells, reduced to references and states (``billing_events.facts``)."""

    event_ref: str
    kind: str
    happened_at: datetime
    facts: dict[str, Any] = field(default_factory=dict)


class Biller(Protocol):
    """An outside biller. Every call may raise UnavailableError or a NeurantError that says why."""

    async def checkout(self, payer: Payer, plan: str, language: Language) -> str:
        """Where the owner pays for ``plan``, as a URL that is good for a day."""
        ...

    async def upgrade(self, payer: Payer, plan: str) -> None:
        """Charge for a larger plan on what is paid already; an event tells when it is done."""
        ...

    async def portal(self, payer: Payer, language: Language) -> str:
        """Where the owner sees bills and changes the card, as a URL that is good for minutes."""
        ...

    async def tell(self, change: ToTell) -> None:
        """Make the biller's subscription what it is here."""
        ...

    def read_event(self, body: bytes, signature: str | None) -> BillingEvent:
        """A signed event. Raises MalformedError for a wrong signature, an old or a broken one."""
        ...


def require_complete(settings: Settings) -> None:
    """Raises SetupError where the settings of the chosen biller are incomplete."""
    if settings.billing != "stripe":
        return
    for name in ("stripe_secret_key", "stripe_webhook_secret", "stripe_prices"):
        if not getattr(settings, name):
            raise SetupError("setup.billing_incomplete", setting=f"NEURANT_{name.upper()}")


def make_biller(settings: Settings) -> Biller | None:
    """The biller of this installation; None: people confirm, or nobody has to.

    Raises SetupError where the settings of the chosen one are incomplete.
    """
    if settings.billing != "stripe":
        return None
    require_complete(settings)
    from neurant.plans.stripe_billing import StripeBiller  # its library is large

    return StripeBiller.of(settings)
