"""From events to stored messages: once each, in order, each company its own, nothing lost."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import httpx
import psycopg
import pytest

from neurant.channels.events import InboundMessage, Ingested
from neurant.channels.ingest import Ingestor, RejectedMessageError
from neurant.channels.telegram.inbound import SECRET_HEADER, credential
from neurant.core.db.pool import Pool, make_pool
from neurant.core.db.tenancy import Staff, Worker, tenant
from neurant.core.errors import UnavailableError
from neurant.core.realtime import Hub
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from tests.companies import Company, make_company, open_visitor
from tests.support.platform import eventually, free_port, rows, web_parts

pytest_plugins = ("tests.support.fixtures",)
pytestmark = pytest.mark.anyio


@pytest.fixture
def companies(own: Urls) -> tuple[Company, Company]:
    return make_company(own.admin, "acme"), make_company(own.admin, "rival")


@asynccontextmanager
async def ingesting(url: str, count: int = 1) -> AsyncIterator[list[Ingestor]]:
    """Ingestors as separate web processes have them: each with its own pool and hub."""
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(count):
            pool = make_pool(url, size=4, pooled=False)
            await stack.enter_async_context(pool)
            hub = await stack.enter_async_context(Hub(url).running())
            made.append(await stack.enter_async_context(Ingestor(pool, hub).running()))
        yield made


def said(company: Company, text: str, *, user: str = "5", id: str | None = None) -> InboundMessage:
    return InboundMessage(
        company.telegram, "telegram", credential(company.telegram_secret.encode()), user, "Ana",
        id or f"{user}:{text}", "text", text,
    )  # fmt: skip


async def check_books(admin: str) -> None:
    """What must hold of every conversation, whatever happened."""
    wrong = await rows(
        admin,
        "select c.id, c.last_seq, c.message_count, count(m.id), min(m.seq), max(m.seq)"
        " from conversations c left join messages m on m.company_id = c.company_id"
        " and m.conversation_id = c.id group by c.company_id, c.id"
        " having not (c.last_seq = count(m.id) and c.message_count = count(m.id)"
        " and min(m.seq) = 1 and max(m.seq) = count(m.id)"
        " and count(distinct m.seq) = count(m.id)"
        " and c.last_message_at = max(m.created_at))",
    )
    assert wrong == []
    unasked = await rows(
        admin,
        "select c.id from conversations c left join reply_requests r on r.company_id = c.company_id"
        " and r.conversation_id = c.id where r.wanted_seq is distinct from c.last_seq",
    )
    assert unasked == []


async def test_a_first_message_opens_a_conversation_and_asks_for_one_reply(
    own: Urls, companies: tuple[Company, Company]
) -> None:
    acme, rival = companies
    before = datetime.now(UTC)
    async with ingesting(own.app) as [ingestor]:
        first = await ingestor.put(said(acme, "hola"))
        second = await ingestor.put(said(acme, "¿abren hoy?"))
    assert (first.outcome, first.seq, first.company_id) == ("stored", 1, acme.id)
    assert (second.outcome, second.seq) == ("stored", 2)
    assert second.conversation_id == first.conversation_id
    [[last, name]] = await rows(
        own.admin, "select last_message_at, end_user_name from conversations"
    )
    assert last >= before
    assert name == "Ana"
    [[asked]] = await rows(own.admin, "select count(*) from reply_requests")
    assert asked == 1, "a burst asks for one reply"
    await check_books(own.admin)
    async with (
        make_pool(own.app, size=1, pooled=False) as pool,
        tenant(pool, rival.staff("owner")) as connection,
    ):
        cursor = await connection.execute("select count(*) from messages")
        assert await cursor.fetchone() == (0,)


async def test_two_processes_that_get_the_same_events_at_once_store_each_once(
    own: Urls, companies: tuple[Company, Company]
) -> None:
    acme, rival = companies
    events = [
        said(company, f"m{number}", user=str(user))
        for company in (acme, rival)
        for user in range(6)
        for number in range(12)
    ]
    async with ingesting(own.app, 2) as ingestors:
        puts = []
        for seed, ingestor in enumerate(ingestors):
            copies = events * 2
            random.Random(seed).shuffle(copies)
            puts += [ingestor.put(event) for event in copies]
        outcomes = await asyncio.gather(*puts)
    assert sum(one.outcome == "stored" for one in outcomes) == len(events)
    assert {one.outcome for one in outcomes} == {"stored", "duplicate"}
    assert len({one.message_id for one in outcomes}) == len(events)
    assert all(one.seq and one.conversation_id for one in outcomes), "a duplicate says where it is"
    [[conversations]] = await rows(own.admin, "select count(*) from conversations")
    assert conversations == 12
    await check_books(own.admin)


async def test_messages_of_one_user_keep_the_order_they_were_put_in(
    own: Urls, companies: tuple[Company, Company]
) -> None:
    acme, _ = companies
    texts = [f"línea {number}" for number in range(300)]
    async with ingesting(own.app) as [ingestor]:
        await asyncio.gather(*(ingestor.put(said(acme, text)) for text in texts[:150]))
        await asyncio.gather(*(ingestor.put(said(acme, text)) for text in texts[150:]))
    stored = await rows(own.admin, "select content from messages order by seq")
    assert [content for (content,) in stored] == texts


BAD = {
    "a name that is too long": {"end_user_name": "n" * 300},
    "a text that is too long": {"content": "t" * 20_001},
    "a NUL": {"media_url": "a\x00b"},
    "half a surrogate pair": {"content": "a\ud800b"},
    "an unknown kind": {"message_type": "hologram"},
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_a_row_that_the_database_refuses_fails_alone(
    own: Urls, companies: tuple[Company, Company], bad: dict[str, str]
) -> None:
    acme, _ = companies
    events = [said(acme, f"m{number}", user=str(number % 3)) for number in range(20)]
    events[7] = replace(events[7], **bad)
    async with ingesting(own.app) as [ingestor]:
        outcomes = await asyncio.gather(*map(ingestor.put, events), return_exceptions=True)
    assert isinstance(outcomes[7], RejectedMessageError)
    others = [one for number, one in enumerate(outcomes) if number != 7]
    assert all(isinstance(one, Ingested) and one.outcome == "stored" for one in others)
    await check_books(own.admin)


async def test_a_refused_row_of_a_webhook_is_kept_raw_and_acknowledged(
    own: Urls, companies: tuple[Company, Company], settings: Callable[..., Settings]
) -> None:
    acme, rival = companies
    port = free_port()
    async with web_parts(settings(port=port)) as web, httpx.AsyncClient() as client:

        async def hook(update: dict[str, object], secret: str, account: str) -> httpx.Response:
            return await client.post(
                f"{web.url}/webhooks/telegram/{account}",
                content=json.dumps(update),
                headers={SECRET_HEADER.decode(): secret},
            )

        def update(number: int, text: str) -> dict[str, object]:
            chat = {"id": 5, "type": "private", "first_name": "Ana"}
            return {
                "update_id": number,
                "message": {"message_id": number, "chat": chat, "text": text},
            }

        wild, tame = update(1, "t" * 20_001), update(2, "hola")
        answers = await asyncio.gather(
            hook(wild, acme.telegram_secret, acme.telegram),
            hook(tame, acme.telegram_secret, acme.telegram),
        )
        assert [answer.status_code for answer in answers] == [200, 200]
        again = await hook(wild, acme.telegram_secret, acme.telegram)
        assert again.status_code == 200
        edit = {"update_id": 3, "edited_message": {"x": "\x00"}}
        assert (await hook(edit, acme.telegram_secret, acme.telegram)).status_code == 200
        forged = await hook(edit, rival.telegram_secret, acme.telegram)
        assert (forged.status_code, forged.json()["code"]) == (401, "wrong_signature")
        nowhere = await hook(edit, acme.telegram_secret, "tg-nobody-at-all")
        assert (nowhere.status_code, nowhere.json()["code"]) == (404, "unknown_webhook")
    kept = await rows(
        own.admin, "select company_id, external_id, payload, reason from inbound_events order by id"
    )
    assert [(company, external) for company, external, _, _ in kept] == [
        (acme.id, "5:1"),
        (acme.id, "update:3"),
    ]
    assert json.loads(kept[0][2]) == wild
    assert "CheckViolation" in kept[0][3]
    assert await rows(own.admin, "select content from messages") == [("hola",)]


async def test_a_wrong_credential_is_refused_and_an_unknown_account_unknown(
    own: Urls, companies: tuple[Company, Company]
) -> None:
    acme, rival = companies
    _, digest = open_visitor(own.admin, acme)
    web = InboundMessage(acme.web, "web", digest, "", None, "1", "text", "hola")
    cases = [
        (said(acme, "a"), "stored"),
        (replace(said(acme, "b"), credential=b"x" * 32), "refused"),
        (
            replace(said(acme, "c"), credential=credential(rival.telegram_secret.encode())),
            "refused",
        ),
        (replace(said(acme, "d"), routing_id="nobody-knows"), "unknown"),
        (replace(said(acme, "e"), channel="web"), "unknown"),
        (web, "stored"),
        (replace(web, routing_id=rival.web), "refused"),
        (replace(web, credential=b"y" * 32), "refused"),
        (replace(web, channel="telegram"), "unknown"),
    ]
    async with ingesting(own.app) as [ingestor]:
        outcomes = await asyncio.gather(*(ingestor.put(event) for event, _ in cases))
    assert [one.outcome for one in outcomes] == [expected for _, expected in cases]
    for one in outcomes:
        if one.outcome != "stored":
            assert one.conversation_id is None
            assert one.message_id is None
    assert await rows(own.admin, "select distinct company_id from messages") == [(acme.id,)]


@pytest.mark.parametrize(
    "closing",
    [
        "update companies set subscription_status = 'cancelled' where id = %s",
        "update channel_accounts set status = 'paused' where company_id = %s",
        "update channel_accounts set status = 'disconnected' where company_id = %s",
    ],
)
async def test_a_closed_company_or_account_is_unknown_and_its_neighbour_is_not(
    own: Urls, companies: tuple[Company, Company], closing: str
) -> None:
    acme, rival = companies
    with psycopg.connect(own.admin) as db:
        db.execute(closing, (acme.id,))
    async with ingesting(own.app) as [ingestor]:
        outcomes = await asyncio.gather(
            ingestor.put(said(acme, "a")), ingestor.put(said(rival, "a"))
        )
    assert [one.outcome for one in outcomes] == ["unknown", "stored"]


async def test_without_a_database_nothing_is_acknowledged_and_afterwards_all_is_well(
    own: Urls, companies: tuple[Company, Company]
) -> None:
    acme, _ = companies
    async with ingesting(own.app) as [ingestor]:
        assert (await ingestor.put(said(acme, "antes"))).outcome == "stored"
        with psycopg.connect(own.admin, autocommit=True) as db:
            database = db.info.dbname
            db.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s"
                       " and pid <> pg_backend_pid()", (database,))  # fmt: skip
            outcomes = await asyncio.gather(
                *(ingestor.put(said(acme, f"durante {n}")) for n in range(5)),
                return_exceptions=True,
            )
        for one in outcomes:
            assert isinstance(one, UnavailableError) or one.outcome == "stored"
        acknowledged = {"antes"} | {
            f"durante {number}" for number, one in enumerate(outcomes) if isinstance(one, Ingested)
        }
        stored = {content for (content,) in await rows(own.admin, "select content from messages")}
        assert acknowledged <= stored

        async def comes_back(number: int) -> Ingested:
            for _ in range(20):
                try:
                    return await ingestor.put(said(acme, f"durante {number}"))
                except UnavailableError:
                    continue
            raise AssertionError("it did not come back")

        again = [await comes_back(number) for number in range(5)]
        assert {one.outcome for one in again} <= {"stored", "duplicate"}
    kept = await rows(own.admin, "select content from messages order by content")
    assert kept == [("antes",), *((f"durante {n}",) for n in range(5))]
    await check_books(own.admin)


async def test_a_database_that_is_not_there_is_unavailable(
    companies: tuple[Company, Company],
) -> None:
    url = f"postgresql://neurant_app@127.0.0.1:{free_port()}/x?sslmode=disable"
    pool: Pool = make_pool(url, size=2, pooled=False)
    pool.timeout = 0.3
    await pool.open(wait=False)
    try:
        async with Ingestor(pool, Hub(url)).running() as ingestor:
            with pytest.raises(UnavailableError):
                await ingestor.put(said(companies[0], "hola"))
    finally:
        await pool.close()


async def test_stopping_leaves_nobody_waiting(
    own: Urls, companies: tuple[Company, Company]
) -> None:
    acme, _ = companies
    async with make_pool(own.app, size=4, pooled=False) as pool, asyncio.timeout(20):
        with psycopg.connect(own.admin) as db:
            db.execute("lock table conversations in access exclusive mode")
            async with Ingestor(pool, Hub(own.app)).running() as ingestor:
                events = [said(acme, f"m{number}") for number in range(1000)]
                puts = [asyncio.create_task(ingestor.put(event)) for event in events]

                async def both_flushers_wait_for_the_lock() -> bool:
                    blocked = "select count(*) = 2 from pg_locks where not granted"
                    return (await rows(own.admin, blocked))[0][0]

                await eventually(both_flushers_wait_for_the_lock)
            outcomes = await asyncio.gather(*puts, return_exceptions=True)
    assert all(isinstance(one, UnavailableError) for one in outcomes)


@pytest.mark.parametrize("seed", range(4))
async def test_random_mixes_of_events_agree_with_a_simple_model(
    own: Urls, companies: tuple[Company, Company], seed: int
) -> None:
    dice = random.Random(seed)
    stored: dict[tuple[UUID, str], tuple[str, str]] = {}
    async with ingesting(own.app, 2) as ingestors:
        for _ in range(12):
            batch, expected = [], []
            for _ in range(dice.randint(1, 25)):
                company = dice.choice(companies)
                user, number = str(dice.randint(1, 4)), dice.randint(1, 40)
                event = said(company, f"texto {number}", user=user, id=f"{user}:{number}")
                kind = dice.choice(("good", "good", "good", "forged", "lost"))
                if kind == "forged":
                    event = replace(event, credential=dice.randbytes(32))
                elif kind == "lost":
                    event = replace(event, routing_id="no-such-account")
                batch.append(event)
                key = (company.id, event.external_id)
                if kind == "good":
                    expected.append("duplicate" if key in stored else "stored")
                    stored.setdefault(key, (user, event.content))
                else:
                    expected.append({"forged": "refused", "lost": "unknown"}[kind])
            ingestor = dice.choice(ingestors)
            outcomes = await asyncio.gather(*map(ingestor.put, batch))
            assert [one.outcome for one in outcomes] == expected
    found = await rows(
        own.admin,
        "select m.company_id, m.external_message_id, c.end_user_id, m.content from messages m"
        " join conversations c on c.company_id = m.company_id and c.id = m.conversation_id",
    )
    assert {(company, key): (user, text) for company, key, user, text in found} == stored
    assert len(found) == len(stored)
    await check_books(own.admin)


async def test_a_worker_of_one_company_reads_nothing_of_the_other(
    own: Urls, companies: tuple[Company, Company]
) -> None:
    acme, rival = companies
    async with ingesting(own.app) as [ingestor]:
        await ingestor.put(said(acme, "de acme"))
        await ingestor.put(said(rival, "de rival"))
    jobs, app = (make_pool(url, size=2, pooled=False) for url in (own.jobs, own.app))
    async with jobs, app:
        for company, text in ((acme, "de acme"), (rival, "de rival")):
            async with tenant(jobs, Worker(company.id)) as connection:
                cursor = await connection.execute("select content from messages")
                assert await cursor.fetchall() == [(text,)]
        liar = Staff(acme.people["owner"].auth_user_id, rival.id)
        async with tenant(app, liar) as connection:
            cursor = await connection.execute("select content from messages")
            assert await cursor.fetchall() == []
