"""What the worker does by the clock: nothing stops anything else, and twice does no harm."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from neurant.core.db.pool import make_pool
from neurant.core.scheduler import Periodic, keep_running
from neurant.installation.embedded import Urls
from neurant.plans import jobs
from neurant.texts import LANGUAGES, catalogue
from tests.companies import make_company
from tests.plans.sql_as_role import call_as, counters, invite, query_as_admin, staff

KINDS = (
    "usage_alert", "plan_changed", "plan_change_waits", "ownership_received", "customer_waiting",
    "transfer_requested", "transfer_accepted", "transfer_rejected", "transfer_expired",
)  # fmt: skip


@pytest.mark.anyio
async def test_a_piece_that_fails_is_tried_again_and_stops_no_other() -> None:
    stop = asyncio.Event()
    ran: list[str] = []

    async def good() -> None:
        ran.append("good")
        if ran.count("good") > 3 and ran.count("bad") > 3:
            stop.set()

    async def bad() -> None:
        ran.append("bad")
        raise RuntimeError("no")

    pieces = [Periodic("bad", 0.001, bad), Periodic("good", 0.001, good)]
    await asyncio.wait_for(keep_running(pieces, stop), 20)
    assert ran.count("bad") > 3


@pytest.mark.anyio
async def test_a_stop_does_not_wait_for_the_next_turn() -> None:
    stop = asyncio.Event()

    async def once() -> None:
        stop.set()

    await asyncio.wait_for(keep_running([Periodic("slow", 3600, once)], stop), 20)


@pytest.mark.anyio
async def test_one_turn_does_all_that_is_due_and_a_second_at_once_nothing_more(urls: Urls) -> None:
    acme, rival = make_company(urls.admin, "acme"), make_company(urls.admin, "rival")
    for company in (acme, rival):
        with staff(urls, company, "owner") as db:
            invite(db, "ana@acme.example")
    query_as_admin(
        urls,
        "update user_invitations set sent_at = now() - interval '9 days',"
        " expires_at = now() - interval '2 days' where company_id = %s",
        acme.id,
    )
    past = datetime.now(UTC) - timedelta(days=70)
    query_as_admin(urls, "select private.apply_plan(%s, 'professional')", acme.id)
    call_as(urls, acme, "owner", "select private.change_plan('starter', %s)", past)
    call_as(
        urls, acme, "owner", "select private.set_user_active(%s, false)", acme.people["operador"].id
    )
    async with make_pool(urls.jobs, size=4, pooled=False) as pool:
        await asyncio.gather(*(jobs.run_periodic(pool) for _ in range(4)))
        again = await jobs.run_periodic(pool)
    assert set(again) == {name for name, _ in jobs._CHORES}
    state = "select status::text from user_invitations where company_id = %s"
    assert query_as_admin(urls, state, acme.id) == [("expired",)]
    assert query_as_admin(urls, state, rival.id) == [("pending",)]
    assert counters(urls, acme)[1] == 3
    assert query_as_admin(
        urls, "select subscription_plan::text from companies where id = %s", acme.id
    ) == [("starter",)]


@pytest.mark.anyio
async def test_a_chore_that_fails_stops_no_other(
    urls: Urls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_CHORES", (("broken", "select 1 / 0"), ("whole", "select 3")))
    async with make_pool(urls.jobs, size=1, pooled=False) as pool:
        assert await jobs.run_periodic(pool) == {"whole": 3}


def test_every_kind_of_notification_has_its_words() -> None:
    for language in LANGUAGES:
        for kind in KINDS:
            assert catalogue(language)[f"notifications.{kind}"]
