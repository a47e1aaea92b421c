"""At the end of the month's allowance: said once, nothing billable, and a person where there is one."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import psycopg
import pytest

from neurant.core.db.pool import make_pool
from neurant.core.db.tenancy import Worker, tenant
from neurant.core.realtime import Hub
from neurant.replies import queries
from neurant.replies.queries import Reply
from neurant.replies.service import reply
from neurant.texts import text
from tests.companies import Company
from tests.support.platform import eventually, settled, working
from tests.support.stage import Stage

pytest_plugins = ("tests.support.fixtures",)
pytestmark = pytest.mark.anyio

TOLD = text("system.limit_reached", "es")

FULL = """
create function pg_temp.full() returns trigger language plpgsql as
$$ begin raise exception 'limit reached: max_hitl_concurrent' using errcode = 'NA002'; end $$;
create trigger zz_full before insert on hitl_sessions for each row execute function pg_temp.full();
"""


async def set_up(stage: Stage, company: Company, *, limit: int, hitl: bool) -> None:
    await stage.rows(
        "update companies set monthly_message_limit = %s where id = %s returning id",
        limit, company.id,
    )  # fmt: skip
    await stage.rows(
        "update chatbots set hitl_enabled = %s, response_delay_ms = 0 where company_id = %s"
        " returning id",
        hitl, company.id,
    )  # fmt: skip


async def thread(stage: Stage, company: Company) -> list[tuple[str, str]]:
    return await stage.rows(
        "select sender_type::text, content from messages where company_id = %s order by seq",
        company.id,
    )


async def reply_to_all(stage: Stage) -> list[str]:
    """What became of the replies that were owed, made in this process."""
    url = stage.web.settings.jobs_database_url.get_secret_value()
    outcomes = []
    async with make_pool(url, size=2, pooled=False) as pool, Hub(url).running() as hub:
        for claim in await queries.claim_replies(pool, 10, timedelta(seconds=20)):
            outcomes.append(await reply(pool, hub, claim))
    return outcomes


async def test_without_people_the_limit_is_reported_once_and_every_message_is_kept(
    stage: Stage,
) -> None:
    acme, rival = stage.acme, stage.rival
    await set_up(stage, acme, limit=1, hitl=False)
    await set_up(stage, rival, limit=100, hitl=False)
    said = []
    for number in range(4):
        await stage.asks(stage.acme_token, 5, f"hola {'!' * number}")
        said += await reply_to_all(stage)
    assert said == ["done", "limited", "limited", "limited"]
    written = await thread(stage, acme)
    assert [sender for sender, _ in written] == [
        "end_user", "bot", "end_user", "system", "end_user", "end_user",
    ]  # fmt: skip
    assert written[3] == ("system", "limit_reached")
    assert await stage.rows("select count(*) from hitl_sessions") == [(0,)]
    await stage.asks(stage.rival_token, 6, "hola")
    assert await reply_to_all(stage) == ["done"]
    assert [sender for sender, _ in await thread(stage, rival)] == ["end_user", "bot"]


async def test_with_people_somebody_takes_over_and_the_customer_reads_why(stage: Stage) -> None:
    await set_up(stage, stage.acme, limit=0, hitl=True)
    await stage.asks(stage.acme_token, 5, "¿Cuánto cuesta una limpieza?")
    async with working(stage.web.settings):
        await settled(stage.urls.admin)

        async def told() -> bool:
            texts = [message.text for _, message in stage.peer.sent]
            return TOLD in texts and text("system.hitl_queued", "es") in texts

        await eventually(told)
    assert await thread(stage, stage.acme) == [
        ("end_user", "¿Cuánto cuesta una limpieza?"),
        ("system", "limit_reached"),
        ("system", "hitl_queued"),
    ]
    assert await stage.rows("select company_id, status, reason from hitl_sessions") == [
        (stage.acme.id, "pending", "limit_reached")
    ]


async def test_a_new_month_answers_again_and_tells_again_at_its_end(stage: Stage) -> None:
    acme = stage.acme
    await set_up(stage, acme, limit=1, hitl=False)
    for _ in range(2):
        await stage.asks(stage.acme_token, 5, "hola")
        await reply_to_all(stage)
    # As if all of it had been last month.
    await stage.rows(
        "update messages set created_at = created_at - interval '40 days' where company_id = %s"
        " returning id",
        acme.id,
    )
    await stage.rows(
        "update companies set monthly_reset_date = monthly_reset_date - 40 where id = %s returning id",
        acme.id,
    )
    await stage.rows("update usage_slots set granted_until = now() returning slot")
    outcomes = []
    for _ in range(3):
        await stage.asks(stage.acme_token, 5, "hola")
        outcomes += await reply_to_all(stage)
    assert outcomes == ["done", "limited", "limited"]
    assert [line for line in await thread(stage, acme) if line[0] == "system"] == [
        ("system", "limit_reached")
    ] * 2


async def finish(stage: Stage, written: Reply, after_claim: str) -> str:
    """Claim the one owed reply, change the world, then write it."""
    url = stage.web.settings.jobs_database_url.get_secret_value()
    async with make_pool(url, size=2, pooled=False) as pool:
        [claim] = await queries.claim_replies(pool, 10, timedelta(seconds=20))
        await stage.rows(after_claim)
        async with tenant(pool, Worker(claim.company_id)) as connection:
            finished = await queries.finish_reply(connection, claim, 0, 1, written)
    return finished.outcome


@pytest.mark.parametrize(
    "written",
    [
        Reply("answer", content="Cuesta 130.000.", confidence=0.9),
        Reply("escalate", content="No lo sé.", reason="no_answer", detail="?"),
        Reply("limit"),
    ],
    ids=lambda written: written.action,
)
async def test_a_limit_that_is_reached_while_the_answer_is_made_loses_nothing(
    stage: Stage, written: Reply
) -> None:
    await stage.asks(stage.acme_token, 5, "¿Cuánto cuesta?")
    lowered = "update companies set monthly_message_limit = 0 returning id"
    assert await finish(stage, written, lowered) == "limited"
    assert await thread(stage, stage.acme) == [
        ("end_user", "¿Cuánto cuesta?"), ("system", "limit_reached"), ("system", "hitl_queued"),
    ]  # fmt: skip
    assert await stage.rows("select count(*) from reply_requests") == [(0,)]
    waiting: list[tuple[UUID | None]] = await stage.rows(
        "select o.fence from outbox o join messages m on m.id = o.message_id"
        " where m.content = 'limit_reached'"
    )
    assert waiting == [(None,)], "the takeover does not cancel the notice"


async def test_where_nobody_is_free_a_request_for_a_person_gets_a_notice(stage: Stage) -> None:
    await stage.asks(stage.acme_token, 5, "quiero hablar con una persona")
    with psycopg.connect(stage.urls.admin, autocommit=True) as db:
        db.execute(FULL)
        try:
            assert await reply_to_all(stage) == ["done"]
        finally:
            db.execute("drop trigger zz_full on hitl_sessions")
    assert (await thread(stage, stage.acme))[1:] == [("system", "hitl_full")]
