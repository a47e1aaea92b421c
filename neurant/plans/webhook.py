"""Where the biller tells what was paid: ``POST /webhooks/stripe``.

200 once the event is stored and applied, also for one that is known already or is nothing to us;
400 for what is not signed by it, or is no event; 413 for a body over the limit. On any other
answer it tells again later (https://docs.stripe.com/webhooks#retries).
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
    """Take one event."""
    biller = billing_of(request).biller
    if biller is None:
        raise NotFoundError("unknown_webhook")
    # The signature is over the bytes as they came.
    event = biller.read_event(await request.body(), request.headers.get("stripe-signature"))
    return {"outcome": await take_event(services_of(request).pool, event)}
