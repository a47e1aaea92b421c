"""Stripe as the payment provider, through its own library: checkout, portal, changes, events.

Events: https://docs.stripe.com/webhooks (signature ``t=,v1=``, HMAC-SHA256 over ``t.body``, five
minutes of tolerance; delivered more than once and in any order). Only the state of a subscription
is read from them; the event's ``created`` orders them in time.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import stripe
from pydantic import SecretStr

from neurant.core.errors import ConflictError, MalformedError, SetupError, UnavailableError
from neurant.core.logs import get_logger
from neurant.core.settings import Settings
from neurant.plans.billing import BillingEvent, Payer, SubscriptionUpdate
from neurant.texts import Language

_TIMEOUT = 10.0  # seconds, short because a person waits for the page
_TOLERANCE = 300  # the maximum age of an event in seconds, Stripe's default
_SUBSCRIPTION = "customer.subscription."
_CHECKOUT = "checkout.session.completed"
# The errors that a body without the shape of an event, or with an impossible date, raises.
_BROKEN = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    OSError,
    RecursionError,
)

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StripeBiller:
    """The Stripe account of this installation; ``prices`` maps each plan to its Stripe price."""

    client: stripe.StripeClient
    webhook_secret: str
    prices: Mapping[str, str]
    back_url: str

    @classmethod
    def of(cls, settings: Settings) -> StripeBiller:
        """Build it from the settings. Raises SetupError if one is missing."""
        secret = _needed(settings.stripe_secret_key, "NEURANT_STRIPE_SECRET_KEY")
        webhook_secret = _needed(settings.stripe_webhook_secret, "NEURANT_STRIPE_WEBHOOK_SECRET")
        if not settings.stripe_prices:
            raise SetupError("setup.billing_incomplete", setting="NEURANT_STRIPE_PRICES")
        client = stripe.StripeClient(
            secret,
            base_addresses={"api": settings.stripe_api_url},
            http_client=stripe.HTTPXClient(timeout=_TIMEOUT),
            max_network_retries=1,
        )
        back = f"{settings.base_url()}/console/plan"
        return cls(client, webhook_secret, settings.stripe_prices, back)

    async def checkout(self, payer: Payer, plan: str, language: Language) -> str:
        """Implement ``Biller.checkout``. The events carry the company's id."""
        company = str(payer.company_id)
        params: dict[str, Any] = {
            "mode": "subscription",
            "line_items": [{"price": self._price(plan), "quantity": 1}],
            "client_reference_id": company,
            "subscription_data": {"metadata": {"company_id": company}},
            "locale": language,
            "success_url": f"{self.back_url}?paid=1",
            "cancel_url": self.back_url,
        }
        params |= (
            {"customer": payer.customer_ref}
            if payer.customer_ref
            else {"customer_email": payer.email}
        )
        async with _reaching():
            session = await self.client.v1.checkout.sessions.create_async(params)  # type: ignore[arg-type]
        return _link(session.url)

    async def upgrade(self, payer: Payer, plan: str) -> None:
        """Charge the rest of the period now; a refused card changes nothing."""
        if payer.subscription_ref is None:
            raise ConflictError("billing.nothing_paid")
        async with _reaching():
            items = await self._items(payer.subscription_ref, plan)
            params: dict[str, Any] = {
                "items": items,
                "proration_behavior": "always_invoice",
                "payment_behavior": "error_if_incomplete",
                "cancel_at_period_end": False,
            }
            await self.client.v1.subscriptions.update_async(
                payer.subscription_ref,
                params,  # type: ignore[arg-type]
            )

    async def portal(self, payer: Payer, language: Language) -> str:
        """Implement ``Biller.portal``. Raises ConflictError if nothing was ever paid."""
        if payer.customer_ref is None:
            raise ConflictError("billing.nothing_paid")
        async with _reaching():
            session = await self.client.v1.billing_portal.sessions.create_async(
                {"customer": payer.customer_ref, "return_url": self.back_url, "locale": language}
            )
        return _link(session.url)

    async def tell(self, change: SubscriptionUpdate) -> None:
        """Implement ``Biller.tell``: the next bill has the new price, without a refund."""
        async with _reaching():
            params: dict[str, Any] = {"cancel_at_period_end": change.cancels_at_end}
            if change.plan_changes:
                params["items"] = await self._items(change.subscription_ref, change.plan)
                params["proration_behavior"] = "none"
            await self.client.v1.subscriptions.update_async(
                change.subscription_ref,
                params,  # type: ignore[arg-type]
            )

    def read_event(self, body: bytes, signature: str | None) -> BillingEvent:
        """Implement ``Biller.read_event``."""
        try:
            stripe.WebhookSignature.verify_header(body, signature, self.webhook_secret, _TOLERANCE)
        except (stripe.SignatureVerificationError, UnicodeDecodeError):
            raise MalformedError("billing.bad_signature") from None
        try:
            return self._reduced(json.loads(body))
        except _BROKEN:
            raise MalformedError("billing.bad_event") from None

    def _reduced(self, event: dict[str, Any]) -> BillingEvent:
        kind = str(event["type"])
        happened_at = datetime.fromtimestamp(int(event["created"]), UTC)
        facts: dict[str, Any] = {}
        thing = event["data"]["object"]
        if kind == _CHECKOUT:
            facts = {"customer": thing["customer"], "company": thing.get("client_reference_id")}
        elif kind.startswith(_SUBSCRIPTION):
            facts = self._facts(thing)
        return BillingEvent(str(event["id"]), kind, happened_at, facts)

    def _facts(self, subscription: dict[str, Any]) -> dict[str, Any]:
        items = subscription["items"]["data"]
        price = items[0]["price"]["id"]
        # Since 2025 the item has the period; older API versions have it on the subscription.
        period_end = items[0].get("current_period_end", subscription.get("current_period_end"))
        cancels_at = subscription.get("cancel_at")
        return {
            "customer": subscription["customer"],
            "company": (subscription.get("metadata") or {}).get("company_id"),
            "subscription": subscription["id"],
            "subscription_created": _moment(subscription["created"]),
            "status": subscription["status"],
            "price": price,
            "plan": next((plan for plan, known in self.prices.items() if known == price), None),
            "period_end": _moment(cancels_at or period_end),
            "cancels_at_end": bool(subscription.get("cancel_at_period_end") or cancels_at),
        }

    async def _items(self, subscription_ref: str, plan: str) -> list[dict[str, str]]:
        now = await self.client.v1.subscriptions.retrieve_async(subscription_ref)
        return [{"id": now["items"]["data"][0]["id"], "price": self._price(plan)}]

    def _price(self, plan: str) -> str:
        if plan not in self.prices:
            raise ConflictError("billing.not_for_sale", plan=plan.capitalize())
        return self.prices[plan]


def _needed(value: SecretStr | None, setting: str) -> str:
    if value is None or not value.get_secret_value().strip():
        raise SetupError("setup.billing_incomplete", setting=setting)
    return value.get_secret_value()


def _moment(seconds: int | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def _link(url: str | None) -> str:
    if not url:
        raise UnavailableError("billing.away")
    return url


@asynccontextmanager
async def _reaching() -> AsyncIterator[None]:
    """Convert Stripe's errors: a refused card is reported to the owner, others are logged."""
    try:
        yield
    except stripe.CardError as error:
        raise ConflictError("billing.card_declined") from error
    except stripe.StripeError as error:
        # The message is not logged, because it may quote personal data of the request.
        log.warning(
            "stripe_failed",
            error=type(error).__name__,
            code=error.code,
            status=error.http_status,
            request=error.request_id,
        )
        raise UnavailableError("billing.away") from error
