"""The two hot queues: fair, exclusive, leased, in order, and never working for nothing."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from neurant.channels.events import InboundMessage
from neurant.channels.ingest import Ingestor
from neurant.channels.telegram.inbound import credential
from neurant.core.db.pool import Pool, fetch_value, make_pool
from neurant.core.db.tenancy import Worker, tenant
from neurant.core.lease_worker import run_queue
from neurant.core.object_store import open_store
from neurant.core.realtime import Hub
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from neurant.replies import service
from neurant.replies.queries import (
    Claim,
    Reply,
    ReplyOutcome,
    claim_replies,
    fail_reply,
    finish_reply,
)
from neurant.runtime.jobs import make_job_app, run_jobs
from tests.companies import Company, make_company
from tests.support.platform import eventually, rows, taught, teach, working
from tests.support.stage import Stage

pytest_plugins = ("tests.support.fixtures",)
pytestmark = pytest.mark.anyio

LEASE = timedelta(seconds=20)


@dataclass
class Desk:
    """Two companies, and a pool per login."""

    urls: Urls
    acme: Company
    rival: Company
    app: Pool
    jobs: Pool
    ingestor: Ingestor
    said: int = 0

    async def say(self, company: Company, user: str, text: str = "hola") -> UUID:
        """A Telegram message of an end user; its conversation."""
        self.said += 1
        stored = await self.ingestor.put(
            InboundMessage(
                company.telegram, "telegram", credential(company.telegram_secret.encode()), user,
                None, f"{user}:{self.said}", "text", text,
            )
        )  # fmt: skip
        assert stored.conversation_id
        return stored.conversation_id

    async def claim(self, limit: int = 10) -> list[Claim]:
        return await claim_replies(self.jobs, limit, LEASE)

    async def finish(
        self, claim: Claim, reply: Reply, *, fence: int = 0, read: int | None = None
    ) -> ReplyOutcome:
        seq = claim.wanted_seq if read is None else read
        async with tenant(self.jobs, Worker(claim.company_id)) as connection:
            return await finish_reply(connection, claim, fence, seq, reply)

    async def answer(self, company: Company, user: str, text: str = "respuesta") -> UUID:
        """A whole turn: question and the bot's answer, now in the outbox; the conversation."""
        conversation = await self.say(company, user)
        [claim] = [one for one in await self.claim() if one.conversation_id == conversation]
        [[fence]] = await self.rows("select fence from conversations where id = %s", conversation)
        assert (await self.finish(claim, Reply("answer", text), fence=fence)).outcome == "done"
        return conversation

    async def claim_outbox(
        self, limit: int = 10, lease: timedelta = LEASE
    ) -> list[tuple[Any, ...]]:
        """(conversation, outbox, token, outcome)."""
        async with self.jobs.connection() as connection:
            cursor = await connection.execute(
                "select conversation_id, outbox_id, claim_token, outcome, company_id"
                " from private.claim_outbox(%s, %s)",
                (limit, lease),
            )
            return await cursor.fetchall()

    async def deliver(self, claimed: tuple[Any, ...], outcome: str, *extra: object) -> object:
        async with tenant(self.jobs, Worker(claimed[4])) as connection:
            values = (claimed[1], claimed[2], outcome, *extra, *[None] * (3 - len(extra)))
            return await fetch_value(
                connection, "select private.finish_delivery(%s, %s, %s, %s, %s, %s)", values
            )

    async def staff(self, query: str, *params: object, role: str = "operador") -> object:
        async with tenant(self.app, self.acme.staff(role)) as connection:
            return await fetch_value(connection, query, params)

    async def rows(self, query: str, *params: object) -> list[tuple[Any, ...]]:
        return await rows(self.urls.admin, query, params)

    def admin(self, query: str, *params: object) -> None:
        with psycopg.connect(self.urls.admin) as db:
            db.execute(query, params)


@pytest.fixture
async def desk(own: Urls) -> AsyncIterator[Desk]:
    acme, rival = make_company(own.admin, "acme"), make_company(own.admin, "rival")
    app, jobs = (make_pool(url, size=4, pooled=False) for url in (own.app, own.jobs))
    async with app, jobs, Ingestor(app, Hub(own.app)).running() as ingestor:
        yield Desk(own, acme, rival, app, jobs, ingestor)


async def owe(desk: Desk, company: Company, count: int) -> None:
    await asyncio.gather(*(desk.say(company, str(10_000 + number)) for number in range(count)))


# Replies -----------------------------------------------------------------------------------------
async def test_a_company_with_a_thousand_owed_replies_delays_another_by_one_turn_at_most(
    desk: Desk,
) -> None:
    await owe(desk, desk.acme, 1000)
    await owe(desk, desk.rival, 2)
    first = await desk.claim(4)
    assert Counter(one.company_id for one in first) == {desk.acme.id: 2, desk.rival.id: 2}
    await desk.say(desk.rival, "77")
    [late] = await desk.claim(1)
    assert late.company_id in (desk.acme.id, desk.rival.id)
    await desk.say(desk.rival, "78")
    served = [one.company_id for one in await desk.claim(2)]
    assert desk.rival.id in [late.company_id, *served]


async def test_a_company_with_two_hundred_owed_replies_leaves_places_for_the_next_of_another(
    desk: Desk,
) -> None:
    worker = service.Desk(desk.jobs, Hub(desk.urls.jobs), share=4)
    await owe(desk, desk.rival, 200)
    taken = await worker.claim(8)
    assert [one.company_id for one in taken] == [desk.rival.id] * 4
    assert await worker.claim(4) == []
    assert await worker.next_due() is None, "the worker would ask again at once, without end"
    await desk.say(desk.acme, "1")
    [next_one] = await worker.claim(4)
    assert next_one.company_id == desk.acme.id
    await worker.work(taken[0])
    [next_one] = await worker.claim(4)
    assert next_one.company_id == desk.rival.id


async def test_a_worker_whose_companies_have_places_left_asks_when_the_next_reply_is_due(
    desk: Desk,
) -> None:
    worker = service.Desk(desk.jobs, Hub(desk.urls.jobs), share=4)
    assert await worker.next_due() is None
    await owe(desk, desk.rival, 3)
    assert await worker.next_due() is not None


async def test_many_at_once_claim_each_reply_for_one_of_them(desk: Desk) -> None:
    await owe(desk, desk.acme, 60)
    await owe(desk, desk.rival, 60)
    claims: list[Claim] = []

    async def take() -> None:
        while taken := await desk.claim(7):
            claims.extend(taken)

    await asyncio.gather(*(take() for _ in range(4)))
    assert len(claims) == 120
    assert len({one.conversation_id for one in claims}) == 120
    assert len({one.claim_token for one in claims}) == 120


async def test_a_reply_waits_for_its_bot_s_delay(own: Urls, desk: Desk) -> None:
    slow = make_company(own.admin, "slow", delay_ms=10_000)
    await desk.say(slow, "5")
    assert await desk.claim() == []
    desk.admin("update reply_requests set due_at = now()")
    assert len(await desk.claim()) == 1


async def test_a_lease_that_ends_gives_the_reply_to_another_and_the_first_finds_it_lost(
    desk: Desk,
) -> None:
    conversation = await desk.say(desk.acme, "5")
    [dead] = await desk.claim()
    assert await desk.claim() == [], "it is leased"
    desk.admin("update reply_requests set claimed_until = now() - interval '1 second'")
    [alive] = await desk.claim()
    assert (alive.conversation_id, alive.attempts) == (conversation, 2)
    assert (await desk.finish(dead, Reply("answer", "tarde"))).outcome == "lost"
    assert (await desk.finish(alive, Reply("answer", "a tiempo"))).outcome == "done"
    assert (await desk.finish(alive, Reply("answer", "otra vez"))).outcome == "lost"
    bots = await desk.rows("select content from messages where sender_type = 'bot'")
    assert bots == [("a tiempo",)]
    assert await desk.rows("select 1 from reply_requests") == []


async def test_two_who_finish_at_once_write_one_reply(desk: Desk) -> None:
    await desk.say(desk.acme, "5")
    [claim] = await desk.claim()
    both = await asyncio.gather(
        *(desk.finish(claim, Reply("answer", f"n{number}")) for number in range(2))
    )
    assert sorted(one.outcome for one in both) == ["done", "lost"]
    assert len(await desk.rows("select 1 from messages where sender_type = 'bot'")) == 1


async def test_more_that_was_said_meanwhile_is_answered_together(desk: Desk) -> None:
    await desk.say(desk.acme, "5", "uno")
    [claim] = await desk.claim()
    await desk.say(desk.acme, "5", "dos")
    assert (await desk.finish(claim, Reply("answer", "a uno"))).outcome == "superseded"
    assert await desk.rows("select 1 from messages where sender_type = 'bot'") == []
    [again] = await desk.claim()
    assert (again.wanted_seq, again.attempts) == (2, 1)
    assert (await desk.finish(again, Reply("answer", "a los dos"))).outcome == "done"


async def test_somebody_who_never_stops_writing_is_answered_all_the_same(desk: Desk) -> None:
    await desk.say(desk.acme, "5", "uno")
    [claim] = await desk.claim()
    await desk.say(desk.acme, "5", "dos")
    desk.admin("update reply_requests set requested_at = now() - interval '11 seconds'")
    assert (await desk.finish(claim, Reply("answer", "a uno"))).outcome == "done"
    [again] = await desk.claim()
    assert again.wanted_seq == 2


async def test_what_was_made_before_an_operator_came_is_not_written(desk: Desk) -> None:
    conversation = await desk.say(desk.acme, "5")
    [claim] = await desk.claim()
    assert await desk.staff("select private.take_conversation(%s)", conversation) == "taken"
    seen = await desk.rows("select last_seq, fence from conversations")
    assert seen == [(2, 1)], "the system line has a place of its own"
    assert (await desk.finish(claim, Reply("answer", "tarde"))).outcome == "fenced"
    assert await desk.rows("select 1 from messages where sender_type = 'bot'") == []
    assert await desk.rows("select 1 from reply_requests") == []


async def test_a_question_is_read_anew_when_somebody_came_and_went(desk: Desk) -> None:
    conversation = await desk.say(desk.acme, "5")
    [claim] = await desk.claim()
    await desk.staff("select private.take_conversation(%s)", conversation)
    await desk.staff("select private.resolve_conversation(%s)", conversation)
    assert (await desk.finish(claim, Reply("answer", "vieja"))).outcome == "superseded"
    [again] = await desk.claim()
    assert (await desk.finish(again, Reply("answer", "nueva"), fence=2)).outcome == "done"


async def test_an_escalation_is_one_session_however_often_it_is_written(desk: Desk) -> None:
    await desk.say(desk.acme, "5", "quiero hablar con una persona")
    [claim] = await desk.claim()
    escalate = Reply("escalate", reason="user_request")
    assert (await desk.finish(claim, escalate)).outcome == "done"
    assert (await desk.finish(claim, escalate)).outcome == "lost"
    await desk.say(desk.acme, "5", "¿hola?")
    [claim] = await desk.claim()
    assert (await desk.finish(claim, escalate, fence=1)).outcome == "fenced"
    assert await desk.rows("select status, reason from hitl_sessions") == [
        ("pending", "user_request")
    ]


async def test_what_the_bot_says_as_it_calls_a_person_leaves_too(desk: Desk) -> None:
    await desk.say(desk.acme, "5", "algo que nadie sabe")
    [claim] = await desk.claim()
    await desk.finish(claim, Reply("escalate", "No lo encontré.", reason="no_answer"))
    outcomes = []
    while claimed := await desk.claim_outbox():
        outcomes.append(claimed[0][3])
        await desk.deliver(claimed[0], "sent", f"5:900{len(outcomes)}")
    assert outcomes == ["sending", "sending"]
    said = "select content, status::text from messages where sender_type <> 'end_user' order by seq"
    assert await desk.rows(said) == [("No lo encontré.", "sent"), ("hitl_queued", "sent")]


async def test_a_reply_that_failed_is_due_again_later(desk: Desk) -> None:
    await desk.say(desk.acme, "5")
    [claim] = await desk.claim()
    async with tenant(desk.jobs, Worker(desk.acme.id)) as connection:
        await fail_reply(connection, claim, "no model", timedelta(seconds=60))
    assert await desk.claim() == []
    [[wait, error]] = await desk.rows("select due_at > now(), last_error from reply_requests")
    assert (wait, error) == (True, "no model")
    assert (await desk.finish(claim, Reply("answer", "tarde"))).outcome == "lost"


async def test_a_worker_cannot_settle_another_company_s_reply_or_delivery(desk: Desk) -> None:
    await desk.say(desk.rival, "5")
    [claim] = await desk.claim()
    stolen = Claim(desk.acme.id, claim.conversation_id, 1, claim.claim_token, 1)
    assert (await desk.finish(stolen, Reply("answer", "intruso"))).outcome == "lost"
    assert await desk.rows("select 1 from messages where sender_type = 'bot'") == []
    await desk.finish(claim, Reply("answer", "de rival"))
    [claimed] = await desk.claim_outbox()
    assert await desk.deliver((*claimed[:4], desk.acme.id), "sent") is False
    assert await desk.deliver(claimed, "sent", "5:9009") is True


async def test_the_owed_replies_of_a_cancelled_company_are_left_alone(desk: Desk) -> None:
    await desk.say(desk.acme, "5")
    await desk.answer(desk.acme, "6")
    desk.admin("update companies set subscription_status = 'cancelled' where id = %s", desk.acme.id)
    desk.admin("update reply_requests set claimed_until = now() - interval '1 second'")
    assert await desk.claim() == []
    assert await desk.claim_outbox() == []
    assert await due(desk, "reply") is None
    assert await due(desk, "delivery") is None


# Deliveries --------------------------------------------------------------------------------------
async def test_a_conversation_s_messages_leave_in_order_and_one_at_a_time(desk: Desk) -> None:
    first = await desk.answer(desk.acme, "5", "uno")
    await desk.answer(desk.acme, "5", "dos")
    other = await desk.answer(desk.acme, "6", "aparte")
    claimed = {one[0]: one for one in await desk.claim_outbox()}
    assert set(claimed) == {first, other}
    assert await desk.claim_outbox() == [], "the second waits for the first"
    await desk.deliver(claimed[first], "retry", None, "429", timedelta(seconds=60))
    assert await desk.claim_outbox() == [], "a retry is still on its way"
    desk.admin("update outbox set due_at = now() where status = 'pending'")
    [again] = await desk.claim_outbox()
    assert again[1] == claimed[first][1]
    await desk.deliver(again, "sent", "5:9001")
    [second] = await desk.claim_outbox()
    assert second[0] == first
    await desk.deliver(second, "failed", None, "403")
    states = await desk.rows(
        "select m.content, m.status::text, o.attempts from messages m join outbox o"
        " on o.message_id = m.id where m.conversation_id = %s order by m.seq", first,
    )  # fmt: skip
    assert states == [("uno", "sent", 2), ("dos", "failed", 1)]


async def test_many_at_once_claim_each_delivery_for_one_of_them(desk: Desk) -> None:
    for number in range(30):
        await desk.answer(desk.acme if number % 2 else desk.rival, str(number))
    claimed: list[tuple[Any, ...]] = []

    async def take() -> None:
        while taken := await desk.claim_outbox(3):
            claimed.extend(taken)

    await asyncio.gather(*(take() for _ in range(4)))
    assert len(claimed) == len({one[1] for one in claimed}) == 30


async def test_deliveries_are_fair_across_companies(desk: Desk) -> None:
    for number in range(12):
        await desk.answer(desk.acme, str(number))
    await desk.answer(desk.rival, "99")
    first = await desk.claim_outbox(2)
    assert {one[4] for one in first} == {desk.acme.id, desk.rival.id}


async def test_what_the_bot_wrote_before_a_takeover_is_cancelled_and_what_the_operator_writes_leaves(
    desk: Desk,
) -> None:
    conversation = await desk.answer(desk.acme, "5", "del bot")
    assert await desk.staff("select private.take_conversation(%s)", conversation) == "taken"
    async with tenant(desk.app, desk.acme.staff("operador")) as connection:
        await connection.execute(
            "insert into messages (company_id, conversation_id, content) values (%s, %s, 'soy Marce')",
            (desk.acme.id, conversation),
        )
    outcomes = []
    while claimed := await desk.claim_outbox():
        for one in claimed:
            outcomes.append(one[3])
            if one[3] == "sending":
                await desk.deliver(one, "sent", f"5:900{len(outcomes)}")
    assert outcomes == ["cancelled", "sending", "sending"]
    states = await desk.rows(
        "select content, status::text from messages where seq > 1 order by seq"
    )
    assert states == [("del bot", "cancelled"), ("hitl_taken", "sent"), ("soy Marce", "sent")]


async def test_what_a_dead_worker_held_is_unknown_and_never_sent_again_by_itself(
    desk: Desk,
) -> None:
    conversation = await desk.answer(desk.acme, "5", "quizás")
    [claimed] = await desk.claim_outbox()
    desk.admin("update outbox set claimed_until = now() - interval '1 second'")
    [told] = await desk.claim_outbox()
    assert told[3] == "unknown"
    assert told[2] is None
    assert await desk.claim_outbox() == []
    assert await desk.rows("select status::text from messages where sender_type = 'bot'") == [
        ("unknown",)
    ]
    await desk.answer(desk.acme, "5", "sigue")
    [following] = await desk.claim_outbox()
    assert (following[0], following[3]) == (conversation, "sending"), "the queue goes on"
    # The worker was only slow: its word is late, but it is the channel's.
    assert await desk.deliver(claimed, "sent", "5:9001") is True
    assert await desk.deliver(claimed, "failed", None, "x") is False
    assert await desk.rows(
        "select status::text, external_message_id from messages where content = 'quizás'"
    ) == [("sent", "5:9001")]


async def test_a_person_may_send_again_what_is_unknown_or_failed_and_nothing_else(
    desk: Desk,
) -> None:
    conversation = await desk.answer(desk.acme, "5", "quizás")
    [[message]] = await desk.rows("select id from messages where sender_type = 'bot'")
    resend = "select private.resend_message(%s)"
    assert await desk.staff(resend, message) == "not_resendable", "it still waits"
    [claimed] = await desk.claim_outbox()
    assert await desk.staff(resend, message) == "not_resendable", "it is on its way"
    await desk.deliver(claimed, "unknown", None, "no answer")
    async with tenant(desk.app, desk.rival.staff("owner")) as connection:
        assert await fetch_value(connection, resend, (message,)) == "not_found"
    assert await desk.staff(resend, message) == "resent"
    assert await desk.staff(resend, message) == "not_resendable", "two clicks, one message"
    # Also after an operator came: a person decided it.
    assert await desk.staff("select private.take_conversation(%s)", conversation) == "taken"
    [again] = await desk.claim_outbox()
    assert (again[1], again[3]) == (claimed[1], "sending")
    assert await desk.deliver(claimed, "sent", "5:9000") is False, "the first claim is over"
    assert await desk.deliver(again, "sent", "5:9001") is True
    assert await desk.staff(resend, message) == "not_resendable"


# When there is something to do -------------------------------------------------------------------
async def due(desk: Desk, queue: str) -> datetime | None:
    async with desk.jobs.connection() as connection:
        found = await fetch_value(connection, f"select private.next_{queue}_due()")
    assert found is None or isinstance(found, datetime)
    return found


async def test_each_queue_is_due_when_it_itself_has_something_to_do(desk: Desk) -> None:
    assert await due(desk, "reply") is None
    assert await due(desk, "delivery") is None
    await desk.say(desk.acme, "5")
    assert await due(desk, "reply") is not None
    assert await due(desk, "delivery") is None
    await desk.answer(desk.acme, "6")
    await desk.answer(desk.acme, "6")
    [claimed] = await desk.claim_outbox()
    await desk.deliver(claimed, "retry", None, "429", timedelta(seconds=300))
    waiting = await due(desk, "delivery")
    [[now]] = await desk.rows("select now()")
    assert waiting
    assert waiting > now + timedelta(seconds=250), "what waits behind a retry is not due before it"


async def test_waiting_costs_nothing(own: Urls) -> None:
    claims: list[float] = []
    stop = asyncio.Event()

    async def claim(free: int) -> list[int]:
        claims.append(time.monotonic())
        if len(claims) == 2:
            stop.set()
        return []

    async def next_due() -> datetime:
        return datetime.now().astimezone() + timedelta(seconds=0.5)

    async def work(item: int) -> None:
        raise AssertionError

    await run_queue("q", Hub(own.jobs), claim, work, next_due, 4, stop)
    first, second = claims
    assert second - first >= 0.49, "nothing was claimed before it was due"


async def test_no_more_is_claimed_than_can_be_worked_on_and_a_failure_frees_its_place(
    own: Urls,
) -> None:
    waiting, running, most, done = list(range(40)), 0, 0, []

    async def claim(free: int) -> list[int]:
        taken = waiting[:free]
        del waiting[:free]
        return taken

    async def next_due() -> None:
        return None

    async def work(item: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        done.append(item)
        if item % 3 == 0:
            raise RuntimeError("this one fails")

    stop = asyncio.Event()
    task = asyncio.create_task(run_queue("q", Hub(own.jobs), claim, work, next_due, 4, stop))

    async def all_done() -> bool:
        return len(done) == 40

    await eventually(all_done)
    stop.set()
    await task
    assert most == 4
    assert sorted(done) == list(range(40))


async def test_stopping_finishes_what_was_begun_and_begins_nothing(own: Urls) -> None:
    begun, gate, finished = asyncio.Event(), asyncio.Event(), []
    waiting = [1, 2]

    async def claim(free: int) -> list[int]:
        return [waiting.pop(0)] if waiting else []

    async def next_due() -> None:
        return None

    async def work(item: int) -> None:
        begun.set()
        await gate.wait()
        finished.append(item)

    stop = asyncio.Event()
    task = asyncio.create_task(run_queue("q", Hub(own.jobs), claim, work, next_due, 1, stop))
    await begun.wait()
    stop.set()
    await asyncio.sleep(0.05)
    assert not task.done(), "it waits for what was begun"
    gate.set()
    await task
    assert finished == [1]
    assert waiting == [2]


async def test_a_database_that_goes_away_does_not_end_the_queue(own: Urls) -> None:
    answers: Iterator[Exception | list[int]] = iter([psycopg.OperationalError("away"), [7]])
    worked = asyncio.Event()

    async def claim(free: int) -> list[int]:
        answer = next(answers, [])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def next_due() -> None:
        return None

    async def work(item: int) -> None:
        worked.set()

    stop = asyncio.Event()
    task = asyncio.create_task(run_queue("q", Hub(own.jobs), claim, work, next_due, 1, stop))
    async with asyncio.timeout(10):
        await worked.wait()
    stop.set()
    await task


# General jobs ------------------------------------------------------------------------------------
async def test_the_jobs_of_the_dead_are_still_rescued_after_the_database_was_away(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neurant.runtime.jobs._RESCUE_EVERY", 0.05)
    admin = stage.urls.admin
    document = await teach(stage.web, stage.acme, "acme.txt", "Domicilios\nCuestan 7300 pesos.\n")
    async with working(stage.web.settings):
        await taught(stage.web, stage.acme)
        for _ in range(10):  # whatever runs of the queue loses its connections
            await rows(
                admin,
                "select pg_terminate_backend(pid) from pg_stat_activity where usename ="
                " 'neurant_jobs' and datname = current_database()",
            )
            await asyncio.sleep(0.05)
        with psycopg.connect(admin) as db:  # as a worker leaves it that died in the middle
            db.execute("update documents set processing_status = 'processing'")
            db.execute("set search_path = jobs")  # its triggers need it
            db.execute("update jobs.procrastinate_jobs set status = 'doing', worker_id = null")
        await taught(stage.web, stage.acme)
    assert await rows(admin, "select id from documents where chunk_count > 0") == [(document,)]


async def test_a_rescue_that_fails_is_noticed(
    desk: Desk, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_job_app(desk.jobs, open_store(settings()), desk.urls.jobs, desk.urls.jobs)

    async def away(**_: object) -> None:
        raise psycopg.OperationalError("away")

    monkeypatch.setattr(app.job_manager, "get_stalled_jobs", away)
    async with asyncio.timeout(10):
        with pytest.raises(psycopg.OperationalError):
            await run_jobs(app, desk.jobs, asyncio.Event())
