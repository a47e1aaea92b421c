"""Exactly the endpoints of Stripe's API that we use, as a real HTTP peer on loopback.

It keeps subscriptions, answers in Stripe's shapes (read on our side by Stripe's own library), and
signs the events that it would send with the library's own function.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

import httpx
import stripe

KEY, WEBHOOK_SECRET = "sk_test_neurant", "whsec_neurant"
PRICES = {"starter": "price_starter", "professional": "price_professional"}
DAY = 86400


@dataclass
class StripePeer:
    """What Stripe knows, and what it was asked."""

    url: str = ""
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    subscriptions: dict[str, dict[str, Any]] = field(default_factory=dict)
    declines: bool = False
    is_away: bool = False
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(int(time.time())))

    def subscribe(self, company: object, plan: str, **changes: Any) -> dict[str, Any]:
        """A subscription as Stripe keeps it after a checkout of ours."""
        number = next(self.numbers)
        made = {
            "id": f"sub_{number}",
            "object": "subscription",
            "customer": f"cus_{number}",
            "created": int(time.time()) - 100,
            "status": "active",
            "metadata": {"company_id": str(company)},
            "cancel_at_period_end": False,
            "cancel_at": None,
            "items": {
                "object": "list",
                "data": [
                    {
                        "id": f"si_{number}",
                        "object": "subscription_item",
                        "price": {"id": PRICES[plan], "object": "price"},
                        "current_period_end": int(time.time()) + 30 * DAY,
                    }
                ],
            },
        } | changes
        self.subscriptions[made["id"]] = made
        return made

    def event(
        self, kind: str, thing: dict[str, Any], at: int | None = None, name: str | None = None
    ) -> dict[str, Any]:
        """An event about something as it is at this moment."""
        return {
            "id": name or f"evt_{next(self.numbers)}",
            "object": "event",
            "type": kind,
            "created": int(time.time()) if at is None else at,
            "livemode": False,
            "data": {"object": json.loads(json.dumps(thing))},
        }

    def answer(self, method: str, path: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if self.is_away:
            return 503, {"error": {"type": "api_error", "message": "away"}}
        if method == "POST" and path == "/v1/checkout/sessions":
            return 200, {"id": "cs_1", "object": "checkout.session", "url": "https://pay.example/c"}
        if method == "POST" and path == "/v1/billing_portal/sessions":
            session = {"id": "bps_1", "object": "billing_portal.session"}
            return 200, session | {"url": f"https://pay.example/p/{form['customer']}"}
        subscription = self.subscriptions.get(path.removeprefix("/v1/subscriptions/"))
        if subscription is None:
            error = {"type": "invalid_request_error", "code": "resource_missing", "message": "no"}
            return 404, {"error": error}
        if method == "POST":
            if self.declines:
                error = {"type": "card_error", "code": "card_declined", "message": "declined"}
                return 402, {"error": error}
            if price := form.get("items[0][price]"):
                subscription["items"]["data"][0]["price"]["id"] = price
            if (ends := form.get("cancel_at_period_end")) is not None:
                subscription["cancel_at_period_end"] = ends.lower() == "true"
        return 200, subscription


def deliver(web_url: str, event: dict[str, Any], **how: Any) -> httpx.Response:
    """As Stripe sends an event; ``secret`` and ``at`` (of the signature) to send it wrongly."""
    body = json.dumps(event)
    signature = stripe.WebhookSignature.generate_signature_header(
        body, how.get("secret", WEBHOOK_SECRET), how.get("at")
    )
    headers = {"stripe-signature": signature, "content-type": "application/json"}
    return httpx.post(f"{web_url}/webhooks/stripe", content=body, headers=headers)


@contextmanager
def stripe_peer() -> Iterator[StripePeer]:
    """A running peer."""
    peer = StripePeer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._serve("GET")

        def do_POST(self) -> None:
            self._serve("POST")

        def _serve(self, method: str) -> None:
            size = int(self.headers.get("content-length") or 0)
            form = dict(parse_qsl(self.rfile.read(size).decode(), keep_blank_values=True))
            if self.headers.get("authorization") != f"Bearer {KEY}":
                status, body = 401, {"error": {"type": "invalid_request_error", "message": "key"}}
            else:
                peer.asked.append((method, self.path, form))
                status, body = peer.answer(method, self.path.partition("?")[0], form)
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("request-id", "req_test")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    peer.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield peer
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
