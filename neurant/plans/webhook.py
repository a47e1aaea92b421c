"""The endpoint that receives the payment provider's events: ``POST /webhooks/stripe``.

It answers 200 once the event is stored and applied, also for an event that is already known or
irrelevant; 400 for a bad signature or a body that is no event; 413 for a body over the limit. On
any other answer the provider delivers the event again (https://docs.stripe.com/webhooks#retries).
"""

from __future__ import annotations

from fastapi import APIRouter, Request

from neurant.core.errors import NotFoundError
from neurant.core.services import services_of
from neurant.plans.service import billing_of, take_event

PATH = "/webhooks/stripe"
router = APIRouter()


@router.post(PATH, include_in_schema=False)
async def take(request: Request) -> dict[str, str]:
    """Receive one event."""
    biller = billing_of(request).biller
    if biller is None:
        raise NotFoundError("unknown_webhook")
    # The signature covers the bytes of the body, so the body is not parsed before.
    event = biller.read_event(await request.body(), request.headers.get("stripe-signature"))
    return {"outcome": await take_event(services_of(request).pool, event)}
