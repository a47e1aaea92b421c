"""Nothing that was acknowledged is lost or doubled, whichever process dies at whatever moment."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psutil
import psycopg
import pytest

from neurant.core.db.pool import make_pool
from neurant.core.errors import SetupError
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls, connection_urls
from tests.companies import Company, make_company
from tests.support.platform import (
    eventually,
    free_port,
    platform_up,
    rows,
    settled,
    taught,
    teach,
    worker_process,
)
from tests.support.stage import Stage

pytest_plugins = ("tests.support.fixtures",)
pytestmark = [pytest.mark.anyio, pytest.mark.platform]

WAITING = """
select count(*) from pg_locks l join pg_stat_activity a on a.pid = l.pid
where not l.granted and a.datname = current_database() and a.usename = 'neurant_jobs'
"""


# The worker, killed between two steps ------------------------------------------------------------
@dataclass(frozen=True)
class Cut:
    """A place to die. ``block`` holds the worker there, ``reached`` tells that it has come so far.

    The blocks are locks of another session, and the peer's silence: production code knows nothing
    of them.
    """

    block: str
    reached: str
    ends: str  # how the delivery may end, once another worker has taken over
    shown: int  # how often the end user saw the answer


CUTS = {
    "the reply is claimed, and not read": Cut(
        "lock table conversations in access exclusive mode",
        "select exists (select from reply_requests where claimed_until is not null)",
        "sent", 1,
    ),
    "the reply is made, and not written": Cut(
        "select from conversations for update",
        "select exists (select from reply_requests where claimed_until is not null)",
        "sent", 1,
    ),
    "the reply is written, and not committed": Cut(
        "lock table outbox in share mode",
        "select exists (select from reply_requests where claimed_until is not null)",
        "sent", 1,
    ),
    "the delivery is claimed, and not sent": Cut(
        "lock table company_keys in access exclusive mode",
        "select exists (select from outbox where status = 'sending')",
        "unknown", 0,
    ),
}  # fmt: skip


@contextlib.contextmanager
def blocked(admin: str, statement: str) -> Iterator[None]:
    """Another session holds these locks for as long as the block lasts."""
    with psycopg.connect(admin) as db:
        db.execute(statement)
        yield
        db.rollback()


async def is_true(admin: str, condition: str) -> bool:
    return bool((await rows(admin, condition))[0][0])


async def leases_end(admin: str) -> None:
    """As if the leases' time had passed."""
    with psycopg.connect(admin) as db:
        past = "now() - interval '1 second'"
        db.execute(
            f"update reply_requests set claimed_until = {past} where claimed_until is not null"
        )
        db.execute(f"update outbox set claimed_until = {past} where claimed_until is not null")


async def check_one_of_each(stage: Stage, user: int, ends: str, shown: int) -> None:
    admin = stage.urls.admin
    await settled(admin, 30)
    kinds = await rows(
        admin, "select sender_type::text, count(*) from messages group by 1 order by 1"
    )
    assert kinds == [("bot", 1), ("end_user", 1)]
    states = "select o.status, m.status::text from outbox o join messages m on m.id = o.message_id"
    assert await rows(admin, states) == [(ends, ends)]
    assert len(stage.peer.texts(user)) == shown


@pytest.mark.parametrize("name", CUTS)
async def test_a_worker_killed_where(stage: Stage, name: str) -> None:
    cut, admin = CUTS[name], stage.urls.admin
    await stage.asks(stage.acme_token, 5, "hola")
    with worker_process(stage.web.settings) as worker:
        with blocked(admin, cut.block):
            await eventually(lambda: is_true(admin, cut.reached))
            await eventually(lambda: is_true(admin, f"select ({WAITING}) > 0"))
            worker.kill()
        await leases_end(admin)
        worker.start()
        await check_one_of_each(stage, 5, cut.ends, cut.shown)


async def test_a_worker_killed_while_the_request_is_on_the_wire(stage: Stage) -> None:
    await stage.asks(stage.acme_token, 5, "hola")
    with worker_process(stage.web.settings) as worker:
        with stage.peer.holding():
            await asyncio.to_thread(stage.peer.wait_for_requests, 1)
            worker.kill()
        await leases_end(stage.urls.admin)
        worker.start()
        await check_one_of_each(stage, 5, "unknown", 1)


async def test_a_worker_killed_after_the_answer_and_before_it_is_written_down(stage: Stage) -> None:
    admin = stage.urls.admin
    await stage.asks(stage.acme_token, 5, "hola")
    with worker_process(stage.web.settings) as worker:
        with contextlib.ExitStack() as lock:
            with stage.peer.holding():
                await asyncio.to_thread(stage.peer.wait_for_requests, 1)
                lock.enter_context(blocked(admin, "select from outbox for update"))
            await eventually(lambda: is_true(admin, f"select ({WAITING}) > 0"))
            worker.kill()
        await leases_end(admin)
        worker.start()
        await check_one_of_each(stage, 5, "unknown", 1)


async def test_a_worker_killed_after_it_is_done_repeats_nothing(stage: Stage) -> None:
    await stage.asks(stage.acme_token, 5, "hola")
    with worker_process(stage.web.settings) as worker:
        await settled(stage.urls.admin)
        worker.kill()
        await leases_end(stage.urls.admin)
        worker.start()
        await stage.asks(stage.rival_token, 6, "hola")
        await eventually(lambda: is_true(stage.urls.admin, "select count(*) = 2 from outbox"))
        await settled(stage.urls.admin)
    assert (len(stage.peer.texts(5)), len(stage.peer.texts(6))) == (1, 1)


async def test_a_worker_asked_to_stop_finishes_the_request_that_is_on_the_wire(
    stage: Stage,
) -> None:
    await stage.asks(stage.acme_token, 5, "hola")
    with worker_process(stage.web.settings) as worker:
        with stage.peer.holding():
            await asyncio.to_thread(stage.peer.wait_for_requests, 1)
            assert worker.process
            worker.process.terminate()
        assert await asyncio.to_thread(worker.process.wait, 20) == 0
    await check_one_of_each(stage, 5, "sent", 1)


async def test_a_worker_killed_in_the_middle_of_a_document_leaves_it_whole_in_the_end(
    stage: Stage,
) -> None:
    admin = stage.urls.admin
    document = await teach(stage.web, stage.acme, "acme.txt", DOCUMENTS["acme"])
    with worker_process(stage.web.settings) as worker:
        with blocked(admin, "lock table document_chunks in access exclusive mode"):
            await eventually(lambda: is_true(admin, f"select ({WAITING}) > 0"), 30)
            worker.kill()
        with psycopg.connect(admin) as db:  # as if it had been silent for long
            db.execute(
                "update jobs.procrastinate_workers set last_heartbeat = now() - interval '1 hour'"
            )
        worker.start()
        await taught(stage.web, stage.acme, 40)
    counts = (
        "select count(*), count(distinct chunk_index), max(d.chunk_count) from document_chunks c"
    )
    [[chunks, different, said]] = await rows(
        admin, f"{counts} join documents d on d.id = c.document_id where d.id = %s", (document,)
    )
    assert chunks == different == said > 0


# Everything, killed at random --------------------------------------------------------------------
DOCUMENTS = {
    "acme": "Domicilios\nLos domicilios de Acme cuestan 7300 pesos dentro de la ciudad.\n",
    "rival": "Domicilios\nLos domicilios de Rival cuestan 9900 pesos dentro de la ciudad.\n",
}
SECRETS = {"acme": "7300", "rival": "9900"}
QUESTIONS = (
    "¿Cuánto cuestan los domicilios?",
    "Hola",
    "Buenas, ¿qué valen los domicilios dentro de la ciudad?",
)
CONVERSATIONS = 500
MAX_CONCURRENT_CLIENTS = 40
ADDRESSES = 10
PARTS = ("web", "worker", "postgres")


@dataclass
class Storm:
    """Kills parts of a platform, at moments that its seed decides."""

    root: psutil.Process
    dice: random.Random
    over: asyncio.Event = field(default_factory=asyncio.Event)
    killed: list[tuple[float, str]] = field(default_factory=list)

    def find(self, part: str) -> psutil.Process | None:
        word = {"web": "serve", "worker": "worker", "postgres": "-D"}[part]
        for child in self.root.children():
            with contextlib.suppress(psutil.Error):
                if word in child.cmdline() and child.status() != psutil.STATUS_ZOMBIE:
                    return child
        return None

    async def rage(self, rounds: int) -> None:
        started = time.monotonic()
        parts = [part for _ in range(rounds) for part in self.dice.sample(PARTS, len(PARTS))]
        for part in parts:
            await asyncio.sleep(self.dice.uniform(0.5, 3.0))
            while (victim := self.find(part)) is None:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
            victim.kill()
            self.killed.append((round(time.monotonic() - started, 2), part))
        self.over.set()


@dataclass
class Client:
    """A visitor's browser: a message counts when it was answered 200, else it is sent again."""

    http: httpx.AsyncClient
    company: Company
    acknowledged: dict[UUID, str] = field(default_factory=dict)
    retries: int = 0
    strange: list[str] = field(default_factory=list)

    async def until(self, status: int, path: str, **request: object) -> dict[str, Any]:
        while True:
            try:
                answer = await self.http.post(f"/chat/{self.company.web}/{path}", **request)
            except httpx.TransportError:
                self.retries += 1
            else:
                if answer.status_code == status:
                    return answer.json()
                if answer.status_code != 503:
                    self.strange.append(f"{answer.status_code} {answer.text[:200]}")
                self.retries += 1
            await asyncio.sleep(0.1)

    async def talk(self, dice: random.Random) -> None:
        token = (await self.until(201, "session"))["token"]
        for _ in range(dice.randint(1, 3)):
            client_id, words = uuid4(), dice.choice(QUESTIONS)
            body = {"client_id": str(client_id), "text": words}
            headers = {"Authorization": f"Bearer {token}"}
            await self.until(200, "messages", json=body, headers=headers)
            self.acknowledged[client_id] = words
            await asyncio.sleep(dice.choice((0.0, 0.0, 0.5)))


@asynccontextmanager
async def everything(folder: Path) -> AsyncIterator[tuple[psutil.Process, Urls, int]]:
    port, log = free_port(), folder / "up.log"
    with platform_up(folder / "data", port, log) as process:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:

            async def ready() -> bool:
                assert process.poll() is None, log.read_text()
                with contextlib.suppress(httpx.TransportError):
                    return (await http.get("/readyz")).status_code == 200
                return False

            await eventually(ready, 60)
        yield psutil.Process(process.pid), connection_urls(folder / "data"), port


async def learn(folder: Path, urls: Urls, companies: dict[str, Company]) -> None:
    settings = Settings(data_dir=folder / "data")

    @dataclass
    class Shelf:
        pool: object
        settings: Settings

    async with make_pool(urls.app, size=2, pooled=False) as pool:
        shelf = Shelf(pool, settings)
        for name, company in companies.items():
            await teach(shelf, company, f"{name}.txt", DOCUMENTS[name])
        for company in companies.values():
            await taught(shelf, company, 60)


async def test_five_hundred_conversations_survive_the_death_of_every_part(folder: Path) -> None:
    seed = int(os.environ.get("NEURANT_TEST_SEED", "20261122"))
    print(f"seed {seed}")
    dice = random.Random(seed)
    async with everything(folder) as (root, urls, port):
        companies = {name: make_company(urls.admin, name) for name in DOCUMENTS}
        await learn(folder, urls, companies)
        storm = Storm(root, dice)
        started = time.monotonic()
        clients = await converse(storm, companies, port, dice)
        print(f"acknowledged after {time.monotonic() - started:.1f} s, killed {storm.killed}")
        await quiet(folder)
        print(f"quiet after {time.monotonic() - started:.1f} s")
        assert time.monotonic() - started < 180
        admin = connection_urls(folder / "data").admin
        await check_messages(admin, clients)
        await check_replies(admin)
    assert Counter(part for _, part in storm.killed) == dict.fromkeys(PARTS, 3)
    assert [strange for client in clients for strange in client.strange] == []
    assert sum(client.retries for client in clients) > 0, "the storm was felt"


async def converse(
    storm: Storm, companies: dict[str, Company], port: int, dice: random.Random
) -> list[Client]:
    """All conversations, while the storm rages; they last at least as long as it does."""
    gate = asyncio.Semaphore(MAX_CONCURRENT_CLIENTS)
    async with AsyncExitStack() as opened:
        # Visitors are limited by address: these have some.
        https = [
            await opened.enter_async_context(
                httpx.AsyncClient(
                    base_url=f"http://127.0.0.1:{port}",
                    timeout=20,
                    transport=httpx.AsyncHTTPTransport(
                        local_address=f"127.30.{number}.1",
                        limits=httpx.Limits(max_connections=MAX_CONCURRENT_CLIENTS),
                    ),
                )
            )
            for number in range(ADDRESSES)
        ]
        clients = [
            Client(https[number % ADDRESSES], companies[("acme", "rival")[number % 2]])
            for number in range(CONVERSATIONS)
        ]

        async def one(number: int, client: Client) -> None:
            async with gate:
                if number % 20 == 19 and not storm.over.is_set():  # spread over the storm
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(storm.over.wait(), 0.6)
                await client.talk(random.Random(f"{number}"))

        async with asyncio.timeout(150), asyncio.TaskGroup() as group:
            group.create_task(storm.rage(3))
            for number, client in enumerate(clients):
                group.create_task(one(number, client))
    dice.random()
    return clients


async def quiet(folder: Path) -> None:
    async def empty() -> bool:
        try:
            admin = connection_urls(folder / "data").admin
            return await is_true(admin, "select not exists (select from reply_requests)")
        except (SetupError, psycopg.OperationalError):
            return False  # PostgreSQL was killed last, and is coming back

    await eventually(empty, 90, "replies are still owed")


async def check_messages(admin: str, clients: list[Client]) -> None:
    stored: Counter[Any] = Counter()
    for company, external, content in await rows(
        admin,
        "select company_id, split_part(external_message_id, ':', 2), content from messages"
        " where sender_type = 'end_user'",
    ):
        stored[(company, UUID(external), content)] += 1
    expected = Counter(
        (client.company.id, client_id, words)
        for client in clients
        for client_id, words in client.acknowledged.items()
    )
    lost, unasked = expected - stored, stored - expected
    print(f"{expected.total()} acknowledged, {lost.total()} lost, {unasked.total()} doubled")
    assert not lost
    assert not unasked
    gaps = await rows(
        admin,
        "select c.id from conversations c join messages m on m.conversation_id = c.id group by c.id,"
        " c.last_seq, c.message_count having count(*) <> c.last_seq or max(m.seq) <> c.last_seq"
        " or count(*) <> c.message_count or count(distinct m.seq) <> count(*)",
    )
    assert gaps == []


async def check_replies(admin: str) -> None:
    """One reply after each burst, none without one; each from the company's own document."""
    talks = await rows(
        admin,
        "select c.company_id, (select k.slug from companies k where k.id = c.company_id),"
        " array_agg(m.sender_type::text order by m.seq), array_agg(m.content order by m.seq),"
        " c.is_hitl_active from conversations c join messages m on m.conversation_id = c.id"
        " group by c.company_id, c.id",
    )
    assert len(talks) == CONVERSATIONS
    for _, slug, senders, contents, waits_for_a_person in talks:
        mine = slug.split("-")[0]
        others = SECRETS["rival" if mine == "acme" else "acme"]
        assert not any(others in content for content in contents)
        said = [sender for sender in senders if sender != "system"]
        doubled = [pair for pair in itertools.pairwise(said) if pair == ("bot", "bot")]
        assert doubled == [], contents
        assert said[-1] == "bot" or waits_for_a_person, contents
    answered = sum(
        SECRETS[slug.split("-")[0]] in " ".join(contents) for _, slug, _, contents, _ in talks
    )
    assert answered > CONVERSATIONS / 2
