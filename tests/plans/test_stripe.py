"""Stripe as the biller: checkout, portal, and signed events, replayed and in any order."""

from __future__ import annotations

import itertools
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from neurant.auth.codes import digest
from neurant.core.db.pool import make_pool
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from neurant.plans.billing import make_biller
from neurant.plans.jobs import run_billing
from tests.companies import Company, make_company
from tests.console.running_web import serving
from tests.plans.sql_as_role import add_bot, call_as, query_as_admin, staff
from tests.support.stripe_peer import (
    DAY,
    KEY,
    PRICES,
    WEBHOOK_SECRET,
    StripePeer,
    deliver,
    stripe_peer,
)

UPDATED = "customer.subscription.updated"
STATE = (
    "select subscription_plan::text, subscription_status::text, next_plan::text,"
    " subscription_ends_at is not null from companies where id = %s"
)


@pytest.fixture(scope="module")
def peer() -> Iterator[StripePeer]:
    with stripe_peer() as running:
        yield running


@pytest.fixture(scope="module")
def billed(urls: Urls, peer: StripePeer) -> Settings:
    return Settings(
        app_database_url=urls.app,
        jobs_database_url=urls.jobs,
        billing="stripe",
        stripe_secret_key=KEY,
        stripe_webhook_secret=WEBHOOK_SECRET,
        stripe_prices=PRICES,
        stripe_api_url=peer.url,
        public_url="https://neurant.example",
        log_level="error",
    )


@pytest.fixture(scope="module")
def web(billed: Settings) -> Iterator[str]:
    with serving(billed) as url:
        yield url


@pytest.fixture
def owner(urls: Urls, web: str) -> Iterator[Callable[[], tuple[Company, httpx.Client]]]:
    """A new company on the free plan that fits in it, and its owner's program."""
    clients: list[httpx.Client] = []

    def make(name: str = "acme") -> tuple[Company, httpx.Client]:
        company = make_company(urls.admin, name)
        for role in ("supervisor", "operador"):
            person = company.people[role].id
            call_as(urls, company, "owner", "select private.set_user_active(%s, false)", person)
        gone = "update channel_accounts set status = 'disconnected' where routing_id = %s"
        query_as_admin(urls, gone, company.telegram)
        query_as_admin(urls, "select private.apply_plan(%s, 'free')", company.id)
        token = secrets.token_urlsafe(24)
        login = company.people["owner"].auth_user_id
        session = "select private.open_login_session(%s, %s, null, null, '1 day')"
        query_as_admin(urls, session, login, digest(token))
        headers = {"authorization": f"Bearer {token}"}
        client = httpx.Client(base_url=web, timeout=20, headers=headers)
        clients.append(client)
        return company, client

    yield make
    for client in clients:
        client.close()


def state(urls: Urls, company: Company) -> tuple[Any, ...]:
    [row] = query_as_admin(urls, STATE, company.id)
    return row


def outcome(answer: httpx.Response) -> str:
    assert answer.status_code == 200, answer.text
    return answer.json()["outcome"]


def test_a_checkout_leads_to_stripe_and_its_events_bring_the_plan(
    urls: Urls, web: str, peer: StripePeer, owner: Callable[..., tuple[Company, httpx.Client]]
) -> None:
    company, client = owner()
    rival, _ = owner("rival")
    peer.asked.clear()
    chosen = client.post("/v1/subscription/change", json={"plan": "professional"})
    assert chosen.status_code == 200, chosen.text
    assert chosen.json()["outcome"] == "requested"
    assert chosen.json()["checkout_url"] == "https://pay.example/c"
    link = client.post("/v1/subscription/checkout", json={"plan": "professional"}).json()
    assert link == {"url": "https://pay.example/c"}
    [(method, path, form), _] = peer.asked
    assert (method, path) == ("POST", "/v1/checkout/sessions")
    assert form["line_items[0][price]"] == "price_professional"
    assert form["client_reference_id"] == form["subscription_data[metadata][company_id]"]
    assert form["client_reference_id"] == str(company.id)
    assert form["success_url"] == "https://neurant.example/console/plan?paid=1"
    assert state(urls, company) == ("free", "active", None, False)  # nothing is paid yet

    sub = peer.subscribe(company.id, "professional")
    done = {"customer": sub["customer"], "client_reference_id": str(company.id)}
    assert outcome(deliver(web, peer.event("checkout.session.completed", done))) == "applied"
    assert outcome(deliver(web, peer.event("customer.subscription.created", sub))) == "applied"
    assert state(urls, company) == ("professional", "active", None, False)
    assert state(urls, rival) == ("free", "active", None, False)
    portal = client.post("/v1/subscription/portal").json()
    assert portal == {"url": f"https://pay.example/p/{sub['customer']}"}
    told = client.get("/v1/subscription").json()
    assert (told["plan"], told["is_billed_online"]) == ("professional", True)
    again = client.post("/v1/subscription/checkout", json={"plan": "professional"})
    assert (again.status_code, again.json()["code"]) == (409, "billing.paid_already")


def test_an_event_that_is_sent_again_has_no_second_effect(
    urls: Urls, web: str, peer: StripePeer, owner: Callable[..., tuple[Company, httpx.Client]]
) -> None:
    company, _ = owner()
    sub = peer.subscribe(company.id, "starter")
    event = peer.event("customer.subscription.created", sub)
    results: Counter[str] = Counter()
    gate, lock = threading.Barrier(8), threading.Lock()

    def run() -> None:
        gate.wait(20)
        told = outcome(deliver(web, event))
        with lock:
            results[told] += 1

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {"applied": 8}
    heard = "select count(*) from notifications where company_id = %s and kind = 'plan_changed'"
    assert query_as_admin(urls, heard, company.id) == [(2,)]  # owner and administrador, once
    # A later state, then the first event once more: it stays applied and changes nothing.
    later = peer.event(UPDATED, sub | {"status": "past_due"}, at=int(time.time()) + 5)
    assert outcome(deliver(web, later)) == "applied"
    assert outcome(deliver(web, event)) == "applied"
    assert state(urls, company) == ("starter", "past_due", None, True)


def test_in_whatever_order_events_arrive_the_newest_state_wins(
    urls: Urls, web: str, peer: StripePeer, owner: Callable[..., tuple[Company, httpx.Client]]
) -> None:
    now = int(time.time())
    for order in itertools.permutations(range(3)):
        company, _ = owner()
        sub = peer.subscribe(company.id, "starter")
        larger = sub | {"items": peer.subscribe(company.id, "professional")["items"]}
        events = [
            peer.event("customer.subscription.created", sub | {"status": "incomplete"}, at=now),
            peer.event(UPDATED, sub, at=now),
            peer.event(UPDATED, larger, at=now + 10),
        ]
        told = [outcome(deliver(web, events[place])) for place in order]
        assert set(told) <= {"applied", "stale"}
        assert state(urls, company) == ("professional", "active", None, False), order


def test_a_subscription_that_ended_stays_ended_and_nothing_is_lost(
    urls: Urls, web: str, peer: StripePeer, owner: Callable[..., tuple[Company, httpx.Client]]
) -> None:
    now = int(time.time())
    for order in itertools.permutations(range(3)):
        company, _ = owner()
        sub = peer.subscribe(company.id, "starter")
        assert outcome(deliver(web, peer.event("customer.subscription.created", sub, at=now - 9)))
        ended = sub | {"status": "canceled"}
        events = [
            peer.event(UPDATED, sub | {"status": "past_due"}, at=now),
            peer.event("customer.subscription.deleted", ended, at=now + 5),
            peer.event(UPDATED, sub, at=now + 5),
        ]
        for place in order:
            assert outcome(deliver(web, events[place])) in ("applied", "stale")
        assert state(urls, company) == ("free", "active", None, False), order


def test_what_does_not_fit_in_free_is_inactive_when_payment_ends(
    urls: Urls, web: str, peer: StripePeer, owner: Callable[..., tuple[Company, httpx.Client]]
) -> None:
    company, _ = owner()
    sub = peer.subscribe(company.id, "starter")
    deliver(web, peer.event("customer.subscription.created", sub))
    with staff(urls, company, "owner") as db:
        add_bot(db, company)
    ended = peer.event("customer.subscription.deleted", sub | {"status": "canceled"})
    assert outcome(deliver(web, ended)) == "applied"
    assert state(urls, company) == ("starter", "inactive", None, True)
    bots = "select count(*) from chatbots where company_id = %s and retired_at is null"
    assert query_as_admin(urls, bots, company.id) == [(2,)]


def test_what_is_not_signed_or_is_no_event_is_refused_and_leaves_nothing(
    urls: Urls, web: str, peer: StripePeer
) -> None:
    count = "select count(*) from billing_events"
    before = query_as_admin(urls, count)
    event = peer.event("invoice.paid", {"id": "in_1"})
    wrong = [
        deliver(web, event, secret="whsec_other"),
        deliver(web, event, at=int(time.time()) - 3600),
        httpx.post(f"{web}/webhooks/stripe", content=b"{}"),
        httpx.post(f"{web}/webhooks/stripe", content=b"\xff", headers={"stripe-signature": "t=1,v1=a"}),
        httpx.post(f"{web}/webhooks/stripe", content=b"{}", headers={"stripe-signature": "x"}),
    ]  # fmt: skip
    assert [(one.status_code, one.json()["code"]) for one in wrong] == [
        (400, "billing.bad_signature")
    ] * 5
    odd: list[Any] = [
        {"id": "evt_1"},
        [],
        "x",
        None,
        event | {"id": "evt with spaces"},
        event | {"id": "evt_" + "x" * 300},
        event | {"created": "now"},
        event | {"created": 10**30},
        event | {"type": "x" * 500},
        peer.event(UPDATED, {"id": "sub_1"}),
    ]
    for one in odd:
        refused = deliver(web, one)
        assert (refused.status_code, refused.json()["code"]) == (400, "billing.bad_event"), one
    huge = deliver(web, event | {"padding": "x" * 2_000_000})
    assert huge.status_code == 413
    assert query_as_admin(urls, count) == before
    assert httpx.get(f"{web}/webhooks/stripe").status_code == 405


def test_without_stripe_there_is_no_such_address(urls: Urls, peer: StripePeer) -> None:
    by_hand = Settings(app_database_url=urls.app, log_level="error")
    with serving(by_hand) as url:
        assert deliver(url, peer.event("invoice.paid", {"id": "in_1"})).status_code == 404


def test_unknown_kinds_are_kept_and_unknown_customers_wait_for_their_checkout(
    urls: Urls, web: str, peer: StripePeer, owner: Callable[..., tuple[Company, httpx.Client]]
) -> None:
    company, _ = owner()
    other = peer.event("invoice.paid", {"id": "in_1", "customer_email": "ana@acme.example"})
    assert outcome(deliver(web, other)) == "ignored"
    kept = "select facts::text from billing_events where event_ref = %s"
    assert query_as_admin(urls, kept, other["id"]) == [("{}",)]  # nothing of a person

    sub = peer.subscribe(company.id, "starter", metadata={})
    early = peer.event("customer.subscription.created", sub)
    assert outcome(deliver(web, early)) == "unknown_customer"
    assert state(urls, company) == ("free", "active", None, False)
    done = {"customer": sub["customer"], "client_reference_id": str(company.id)}
    assert outcome(deliver(web, peer.event("checkout.session.completed", done))) == "applied"
    assert state(urls, company) == ("starter", "active", None, False)
    assert outcome(deliver(web, early)) == "applied"
    nobody = {"customer": "cus_nobody", "client_reference_id": "not-a-company"}
    assert outcome(deliver(web, peer.event("checkout.session.completed", nobody))) == (
        "unknown_customer"
    )
    strange = peer.subscribe(
        company.id, "starter", customer=sub["customer"], created=int(time.time())
    )
    strange["items"]["data"][0]["price"]["id"] = "price_of_somebody"
    assert outcome(deliver(web, peer.event(UPDATED, strange))) == "unknown_price"
    assert state(urls, company) == ("starter", "active", None, False)


def test_an_upgrade_charges_what_is_paid_already_and_a_refused_card_changes_nothing(
    urls: Urls, web: str, peer: StripePeer, owner: Callable[..., tuple[Company, httpx.Client]]
) -> None:
    company, client = owner()
    sub = peer.subscribe(company.id, "starter")
    deliver(web, peer.event("customer.subscription.created", sub))
    wish = {"plan": "professional"}
    try:
        peer.declines = True
        refused = client.post("/v1/subscription/change", json=wish)
    finally:
        peer.declines = False
    assert (refused.status_code, refused.json()["code"]) == (409, "billing.card_declined")
    try:
        peer.is_away = True
        away = client.post("/v1/subscription/change", json=wish)
    finally:
        peer.is_away = False
    assert (away.status_code, away.json()["code"]) == (503, "billing.away")
    assert state(urls, company)[0] == "starter"
    done = client.post("/v1/subscription/change", json=wish).json()
    assert (done["outcome"], done["checkout_url"]) == ("requested", None)
    assert sub["items"]["data"][0]["price"]["id"] == "price_professional"
    deliver(web, peer.event(UPDATED, sub, at=int(time.time()) + 1))
    assert state(urls, company) == ("professional", "active", None, False)


@pytest.mark.anyio
async def test_what_is_cancelled_here_is_sent_to_stripe_once_and_taken_back(
    urls: Urls,
    web: str,
    peer: StripePeer,
    owner: Callable[..., tuple[Company, httpx.Client]],
    billed: Settings,
) -> None:
    company, client = owner()
    sub = peer.subscribe(company.id, "starter")
    deliver(web, peer.event("customer.subscription.created", sub))
    biller = make_biller(billed)
    assert biller
    cancelled = client.post("/v1/subscription/cancel")
    assert cancelled.status_code == 200, cancelled.text
    period_end = sub["items"]["data"][0]["current_period_end"]
    [(ends,)] = query_as_admin(
        urls, "select extract(epoch from subscription_ends_at) from companies where id = %s", company.id
    )  # fmt: skip
    assert ends == period_end  # Stripe's month, not ours
    async with make_pool(urls.jobs, size=2, pooled=False) as pool:
        try:
            peer.is_away = True
            await run_billing(pool, biller)
        finally:
            peer.is_away = False
        assert not sub["cancel_at_period_end"]
        await run_billing(pool, biller)
        assert sub["cancel_at_period_end"]
        peer.asked.clear()
        await run_billing(pool, biller)
        assert [one for one in peer.asked if sub["id"] in one[1]] == []
        # An event from before that, late: what was agreed here stands.
        deliver(
            web,
            peer.event(UPDATED, sub | {"cancel_at_period_end": False}, at=int(time.time()) - DAY),
        )
        assert state(urls, company) == ("starter", "active", None, True)
        assert client.delete("/v1/subscription/change").status_code == 200
        await run_billing(pool, biller)
        assert not sub["cancel_at_period_end"]
        assert state(urls, company) == ("starter", "active", None, False)
        assert (
            client.post("/v1/subscription/close", json={"confirm": company.slug}).json()["status"]
            == "cancelled"
        )
        await run_billing(pool, biller)
        assert sub["cancel_at_period_end"]  # a closed company is not billed again
        assert client.post("/v1/subscription/reopen").json()["status"] == "active"
        await run_billing(pool, biller)
        assert not sub["cancel_at_period_end"]


@pytest.mark.anyio
async def test_an_event_whose_process_died_before_it_was_applied_is_applied_later(
    urls: Urls,
    peer: StripePeer,
    owner: Callable[..., tuple[Company, httpx.Client]],
    billed: Settings,
) -> None:
    company, _ = owner()
    sub = peer.subscribe(company.id, "starter")
    biller = make_biller(billed)
    assert biller
    facts = {
        "customer": sub["customer"], "company": str(company.id), "subscription": sub["id"],
        "subscription_created": "2026-01-01T00:00:00+00:00", "status": "active", "plan": "starter",
        "period_end": "2099-01-01T00:00:00+00:00", "cancels_at_end": False,
    }  # fmt: skip
    query_as_admin(
        urls,
        "insert into billing_events (event_ref, kind, happened_at, facts, received_at)"
        " values (%s, %s, now(), %s::jsonb, now() - interval '5 minutes')",
        f"evt_{sub['id']}",
        UPDATED,
        json.dumps(facts),
    )
    async with make_pool(urls.jobs, size=2, pooled=False) as pool:
        await run_billing(pool, biller)
    assert state(urls, company) == ("starter", "active", None, False)
