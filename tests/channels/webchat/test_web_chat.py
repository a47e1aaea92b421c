"""The web chat over HTTP, as a browser meets it: sessions, messages, the stream, and every misuse."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from neurant.core.db.pool import Pool, make_pool
from neurant.core.db.tenancy import tenant
from neurant.core.settings import Settings
from neurant.installation.embedded import Urls
from neurant.runtime.app import create_app
from neurant.texts import in_tone, text
from neurant.texts.address import Manner
from tests.companies import Company, make_company
from tests.support.platform import eventually, free_port, rows, serving, settled, working

pytest_plugins = ("tests.support.fixtures",)
pytestmark = pytest.mark.anyio


@dataclass
class Event:
    kind: str
    id: str | None
    data: dict[str, Any]


@dataclass
class Site:
    """A web process, and two companies with a chat each."""

    urls: Urls
    settings: Settings
    acme: Company
    rival: Company
    http: httpx.AsyncClient

    async def visitor(self, company: Company | None = None) -> Visitor:
        chat = (company or self.acme).web
        answer = await self.http.post(f"/chat/{chat}/session")
        assert answer.status_code == 201
        return Visitor(self, chat, answer.json()["token"])


@dataclass
class Visitor:
    """A browser with its token."""

    site: Site
    chat: str
    token: str
    last_event_id: str | None = None
    seen: list[Event] = field(default_factory=list)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    async def post(self, body: object, **headers: str) -> httpx.Response:
        return await self.site.http.post(
            f"/chat/{self.chat}/messages", json=body, headers={**self.headers, **headers}
        )

    async def says(self, words: str, client_id: UUID | None = None) -> dict[str, Any]:
        answer = await self.post({"client_id": str(client_id or uuid4()), "text": words})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def wrote(self, many: list[str]) -> None:
        """Messages that are there already: more than a visitor may send at once."""
        digest = hashlib.sha256(self.token.encode()).digest()
        count = len(many)
        columns = (
            [self.chat] * count, ["web"] * count, [digest] * count, [""] * count, [None] * count,
            [str(uuid4()) for _ in many], ["text"] * count, many, [None] * count,
        )  # fmt: skip
        async with await psycopg.AsyncConnection.connect(self.site.urls.app) as db:
            await db.execute(
                "select private.ingest(%s::text[], %s::text[], %s::bytea[], %s::text[], %s::text[],"
                " %s::text[], %s::text[], %s::text[], %s::text[])",
                columns,
            )

    async def listen(
        self, until: Callable[[list[Event]], bool], seconds: float = 15
    ) -> list[Event]:
        """Events from where this browser left off, until the condition holds; then it leaves."""
        heard: list[Event] = []
        async with asyncio.timeout(seconds), self.events() as events:
            async for event in events:
                heard.append(event)
                if event.kind == "message":
                    self.last_event_id = event.id
                if until(heard):
                    break
        self.seen += heard
        return heard

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[Event]]:
        headers = dict(self.headers)
        if self.last_event_id:
            headers["Last-Event-ID"] = self.last_event_id
        async with self.site.http.stream(
            "GET", f"/chat/{self.chat}/stream", headers=headers, timeout=30
        ) as answer:
            assert answer.status_code == 200, await answer.aread()
            yield parsed(answer.aiter_lines())


async def parsed(lines: AsyncIterator[str]) -> AsyncIterator[Event]:
    """https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream"""
    fields: dict[str, str] = {}
    async for line in lines:
        if line:
            name, _, value = line.partition(":")
            if name:
                fields[name] = value.removeprefix(" ")
        elif "data" in fields:
            yield Event(
                fields.get("event", "message"), fields.get("id"), json.loads(fields["data"])
            )
            fields = {}


def texts(events: list[Event]) -> list[str]:
    return [event.data["text"] for event in events if event.kind == "message"]


@pytest.fixture
async def site(own: Urls, settings: Callable[..., Settings]) -> AsyncIterator[Site]:
    acme, rival = make_company(own.admin, "acme"), make_company(own.admin, "rival")
    port = free_port()
    chosen = settings(port=port, log_level="error")
    async with (
        serving(create_app(chosen), port, lifespan="on") as url,
        httpx.AsyncClient(base_url=url, timeout=20) as http,
    ):
        yield Site(own, chosen, acme, rival, http)


# Messages and the stream -------------------------------------------------------------------------
async def test_a_message_is_stored_once_however_often_it_is_sent(site: Site) -> None:
    visitor, client_id = await site.visitor(), uuid4()
    answers = await asyncio.gather(*(visitor.says("hola", client_id) for _ in range(6)))
    assert sorted(one["duplicate"] for one in answers) == [False] + [True] * 5
    assert {(one["conversation_id"], one["seq"]) for one in answers} == {
        (answers[0]["conversation_id"], 1)
    }
    assert await rows(site.urls.admin, "select content from messages") == [("hola",)]
    other = await site.visitor()
    assert (await other.says("hola", client_id))["duplicate"] is False, "ids are each visitor's own"


async def test_a_visitor_asks_and_reads_the_answer_live(site: Site) -> None:
    visitor = await site.visitor()
    async with working(site.settings):
        listening = asyncio.create_task(visitor.listen(lambda heard: len(texts(heard)) == 2))
        client_id = uuid4()
        await visitor.says("hola", client_id)
        heard = await listening
    question, answer = (event.data for event in heard if event.kind == "message")
    assert (question["sender"], question["client_id"], question["seq"]) == (
        "end_user", str(client_id), 1,
    )  # fmt: skip
    assert (answer["sender"], answer["client_id"], answer["seq"]) == ("bot", None, 2)
    names = {"bot": "Bot acme", "company": "Acme"}
    assert answer["text"] == in_tone("replies.greeting", Manner(), "es", **names)
    assert answer["sources"] == []
    assert set(answer) == {"conversation_id", "id", "seq", "sender", "name", "text", "client_id", "sources",
                           "created_at"}  # fmt: skip


async def test_a_stream_resumes_without_gap_or_double(site: Site) -> None:
    visitor = await site.visitor()
    await visitor.wrote([f"m{number}" for number in range(40)])
    await visitor.listen(lambda heard: len(texts(heard)) == 7)
    writing = asyncio.create_task(_write(visitor, range(40, 60)))
    while len(texts(visitor.seen)) < 60:
        most = min(11, 60 - len(texts(visitor.seen)))
        await visitor.listen(lambda heard, most=most: len(texts(heard)) == most)
    await writing
    assert texts(visitor.seen) == [f"m{number}" for number in range(60)]
    assert [e.data["seq"] for e in visitor.seen if e.kind == "message"] == list(range(1, 61))


async def _write(visitor: Visitor, numbers: range) -> None:
    for number in numbers:
        await visitor.says(f"m{number}")


async def test_a_backlog_longer_than_a_page_arrives_whole(site: Site) -> None:
    visitor = await site.visitor()
    await visitor.wrote([f"m{number}" for number in range(220)])
    heard = await visitor.listen(lambda heard: len(texts(heard)) == 220)
    assert [e.data["seq"] for e in heard if e.kind == "message"] == list(range(1, 221))


async def test_a_position_that_is_none_of_ours_is_the_beginning(site: Site) -> None:
    visitor = await site.visitor()
    await visitor.says("hola")
    for position in ("", "nonsense", "1.2.3", f"{uuid4()}.5", f"{uuid4()}.", "9" * 500):
        visitor.last_event_id = position
        assert texts(await visitor.listen(lambda heard: bool(texts(heard)))) == ["hola"]


async def test_who_is_answering_is_shown(site: Site) -> None:
    visitor = await site.visitor()
    conversation = (await visitor.says("hola"))["conversation_id"]

    def mode(wanted: str) -> Callable[[list[Event]], bool]:
        return lambda heard: heard[-1].kind == "state" and heard[-1].data["mode"] == wanted

    heard = await visitor.listen(mode("bot"))
    assert heard[-1].data == {"mode": "bot", "operator": None, "thinking": True}
    async with make_pool(site.urls.app, size=1, pooled=False) as pool:
        async with tenant(pool, site.acme.staff("operador")) as connection:
            await connection.execute("select private.take_conversation(%s)", (conversation,))
        heard = await visitor.listen(mode("human"))
        assert heard[-1].data == {"mode": "human", "operator": "Operador", "thinking": False}
        assert texts(heard) == [text("system.hitl_taken", "es", name="Operador")]
        async with tenant(pool, site.acme.staff("operador")) as connection:
            await connection.execute("select private.resolve_conversation(%s)", (conversation,))
        await visitor.listen(mode("bot"))


async def test_browsers_that_leave_cost_no_connection(site: Site) -> None:
    visitor = await site.visitor()
    await visitor.says("hola")

    async def glimpse() -> None:
        async with visitor.events() as events:
            async for _ in events:
                return

    for _ in range(5):
        await asyncio.gather(*(glimpse() for _ in range(8)))

    async def idle() -> bool:
        query = ("select count(*) from pg_stat_activity where datname = current_database()"
                 " and usename = 'neurant_app' and state like 'idle in transaction%%'")  # fmt: skip
        return (await rows(site.urls.admin, query))[0][0] == 0

    await eventually(idle)
    assert (await site.http.get("/readyz")).status_code == 200
    assert (await visitor.says("sigo aquí"))["seq"] == 2


# Who may ----------------------------------------------------------------------------------------
def is_problem(
    answer: httpx.Response, status: int, code: str, language: str = "es", **params: object
) -> bool:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["code"] == code
    assert body["status"] == status
    assert body["detail"] == text(f"errors.{code}", language, **params)
    assert body["request_id"] == answer.headers["x-request-id"]
    return True


async def test_a_session_that_is_missing_wrong_or_expired_is_401(site: Site) -> None:
    visitor = await site.visitor()
    message = {"client_id": str(uuid4()), "text": "hola"}
    for headers, code in (
        ({}, "visitor_session_missing"),
        ({"Authorization": "Basic abc"}, "visitor_session_missing"),
        ({"Authorization": "Bearer"}, "visitor_session_missing"),
        ({"Authorization": "Bearer nobody"}, "visitor_session_expired"),
        ({"Authorization": b"Bearer \xff\xfe"}, "visitor_session_expired"),
    ):
        stream = await site.http.get(f"/chat/{visitor.chat}/stream", headers=headers)
        sent = await site.http.post(f"/chat/{visitor.chat}/messages", json=message, headers=headers)
        assert is_problem(stream, 401, code)
        assert is_problem(sent, 401, code)
    with psycopg.connect(site.urls.admin) as db:
        db.execute("update visitor_sessions set expires_at = now() - interval '1 second'")
    for answer in (
        await site.http.get(f"/chat/{visitor.chat}/stream", headers=visitor.headers),
        await visitor.post(message),
    ):
        assert is_problem(answer, 401, "visitor_session_expired")


async def test_a_session_that_ends_closes_its_stream(site: Site) -> None:
    visitor = await site.visitor()
    await visitor.says("hola")
    async with asyncio.timeout(15), visitor.events() as events:
        assert (await anext(events)).data["text"] == "hola"
        with psycopg.connect(site.urls.admin) as db:
            db.execute("update visitor_sessions set expires_at = now() - interval '1 second'")
            # What would wake the stream if somebody wrote in its conversation:
            db.execute(
                "select pg_notify('neurant_live', company_id || ':' || id) from conversations"
            )
        rest = [event async for event in events]
    assert all(event.kind == "state" for event in rest)


async def test_a_visitor_of_another_chat_or_another_visitor_sees_nothing(site: Site) -> None:
    mine, other, rival = await site.visitor(), await site.visitor(), await site.visitor(site.rival)
    conversation = (await mine.says("secreto de acme"))["conversation_id"]
    for chat, visitor in ((site.rival.web, mine), (site.acme.web, rival)):
        stream = await site.http.get(f"/chat/{chat}/stream", headers=visitor.headers)
        assert is_problem(stream, 401, "visitor_session_expired")
        body = {"client_id": str(uuid4()), "text": "hola"}
        sent = await site.http.post(f"/chat/{chat}/messages", json=body, headers=visitor.headers)
        assert is_problem(sent, 401, "visitor_session_expired")
    for visitor in (other, rival):
        visitor.last_event_id = f"{conversation}.0"
        await visitor.says("propio")
        assert texts(await visitor.listen(lambda heard: bool(texts(heard)))) == ["propio"]


@pytest.mark.parametrize("path", ["session", "messages"])
async def test_a_chat_that_is_not_there_or_closed_is_unknown(site: Site, path: str) -> None:
    visitor = await site.visitor()
    with psycopg.connect(site.urls.admin) as db:
        db.execute(
            "update channel_accounts set status = 'paused' where company_id = %s", (site.acme.id,)
        )
    body = {"client_id": str(uuid4()), "text": "hola"}
    for chat in (site.acme.web, "nobody-knows-it", "%00", "%F0%9F%98%80", "a" * 3000, "..%2f..%2f"):
        answer = await site.http.post(f"/chat/{chat}/{path}", json=body, headers=visitor.headers)
        assert answer.status_code == 404, (chat, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"


# Misuse -----------------------------------------------------------------------------------------
LANGUAGES = {"es-CO,es;q=0.9": "es", "en-GB": "en"}
TEXTS = [
    ("", "text_empty", {}),
    (" \n\t ", "text_empty", {}),
    ("a\x00b", "text_not_storable", {}),
    ("x" * 4001, "text_too_long", {"most": 4000, "length": 4001}),
]
BODIES = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"\xff\xfe\x00",
    b'{"text":"hola"}',
    b'{"client_id":"5","text":"hola"}',
    b'{"client_id":"6f1e0a3a-9d3c-4f3a-8b9e-0a4f0f6f2f11","text":5}',
    b'{"client_id":"6f1e0a3a-9d3c-4f3a-8b9e-0a4f0f6f2f11","text":"a\\ud800b"}',
    b"[" * 100_000,
    b'{"client_id":' + b"9" * 5000 + b"}",
]


async def test_a_text_that_cannot_be_taken_is_reported_in_the_reader_s_language(site: Site) -> None:
    visitor = await site.visitor()
    for accept, language in LANGUAGES.items():
        for words, code, params in TEXTS:
            body = {"client_id": str(uuid4()), "text": words}
            answer = await visitor.post(body, **{"Accept-Language": accept})
            assert is_problem(answer, 422, code, language, **params)


async def test_a_body_that_cannot_be_read_is_a_clear_problem(site: Site) -> None:
    visitor = await site.visitor()
    for accept, language in LANGUAGES.items():
        headers = {**visitor.headers, "Content-Type": "application/json", "Accept-Language": accept}
        for body in BODIES:
            answer = await site.http.post(
                f"/chat/{visitor.chat}/messages", content=body, headers=headers
            )
            if len(body) > 64 * 1024:  # more than anybody may post
                assert is_problem(answer, 413, "body_too_large", language, most="64 kB")
                continue
            assert answer.status_code in (400, 422), (body[:60], answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            told = answer.json()
            fields = {"fields": told["detail"].split(": ")[-1].rstrip(".")}
            assert told["detail"] == text(f"errors.{told['code']}", language, **fields)


async def test_a_position_in_the_body_is_not_reported_as_the_name_of_a_field(site: Site) -> None:
    visitor = await site.visitor()
    headers = {**visitor.headers, "Content-Type": "application/json"}
    answer = await site.http.post(f"/chat/{visitor.chat}/messages", content=b"{", headers=headers)
    assert is_problem(answer, 400, "bad_request")


@pytest.mark.parametrize(
    ("declared", "most"), [(True, "1 MB"), (False, "64 kB")], ids=["declared", "chunked"]
)
async def test_a_body_of_ten_megabytes_is_refused_early(
    site: Site, declared: bool, most: str
) -> None:
    visitor = await site.visitor()
    data = b'{"client_id":"x","text":"' + b"a" * 10_485_760 + b'"}'

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 65536):
            yield data[start : start + 65536]

    headers = {**visitor.headers, "Content-Type": "application/json", "Accept-Language": "en"}
    answer = await site.http.post(
        f"/chat/{visitor.chat}/messages", content=data if declared else pieces(), headers=headers
    )
    assert is_problem(answer, 413, "body_too_large", "en", most=most)
    assert (await visitor.says("hola"))["seq"] == 1


async def test_a_text_of_the_greatest_length_and_any_script_comes_back_as_it_was(
    site: Site,
) -> None:
    visitor = await site.visitor()
    words = ["¿Qué tal? 😀 <b>«»</b> \u202e {{7*7}} ' or 1=1 --", "ñ" * 4000, "línea\nuna\tdos"]
    for one in words:
        await visitor.says(one)
    assert texts(await visitor.listen(lambda heard: len(texts(heard)) == 3)) == words


async def test_a_telegram_webhook_of_the_real_application_answers_every_misuse(site: Site) -> None:
    secret = {"X-Telegram-Bot-Api-Secret-Token": site.acme.telegram_secret}
    path = f"/webhooks/telegram/{site.acme.telegram}"
    update = {"update_id": 1, "message": {"message_id": 1, "chat": {"id": 5}, "text": "hola"}}
    assert (await site.http.post(path, json=update, headers=secret)).status_code == 200
    assert is_problem(await site.http.post(path, json=update), 401, "wrong_signature")
    assert is_problem(await site.http.get(path, headers=secret), 404, "unknown_webhook")
    nowhere = await site.http.post("/webhooks/telegram/nobody-knows", json=update, headers=secret)
    assert is_problem(nowhere, 404, "unknown_webhook")
    assert is_problem(
        await site.http.post(path, content=b"{", headers=secret), 400, "not_a_telegram_update"
    )
    big = await site.http.post(path, content=b"x" * 2_000_000, headers=secret)
    assert is_problem(big, 413, "body_too_large", most="1 MB")
    assert await rows(site.urls.admin, "select content from messages") == [("hola",)]


async def test_without_the_database_the_answer_is_503_and_asks_to_try_again(
    own: Urls, settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    acme = make_company(own.admin, "acme")
    port = free_port()

    def impatient_pool(*arguments: object, **options: object) -> Pool:
        pool = make_pool(*arguments, **options)
        pool.timeout = 0.5
        return pool

    monkeypatch.setattr("neurant.runtime.app.make_pool", impatient_pool)
    away = f"postgresql://neurant_app@127.0.0.1:{free_port()}/x?sslmode=disable"
    app = create_app(settings(port=port, app_database_url=away, log_level="error"))
    async with (
        serving(app, port, lifespan="on") as url,
        httpx.AsyncClient(base_url=url, timeout=30) as http,
    ):
        assert (await http.get("/healthz")).status_code == 200
        ready, session = await asyncio.gather(
            http.get("/readyz"), http.post(f"/chat/{acme.web}/session")
        )
    assert ready.status_code == 503
    assert is_problem(session, 503, "database_away")


async def test_the_whole_story_with_a_person_in_the_web_chat(site: Site) -> None:
    visitor = await site.visitor()
    async with working(site.settings):
        conversation = (await visitor.says("quiero hablar con una persona"))["conversation_id"]
        heard = await visitor.listen(
            lambda heard: heard[-1].kind == "state" and heard[-1].data["mode"] == "queued"
        )
        assert texts(heard)[-1] == text("system.hitl_queued", "es")
        async with (
            make_pool(site.urls.app, size=1, pooled=False) as pool,
            tenant(pool, site.acme.staff("operador")) as connection,
        ):
            await connection.execute(
                "insert into messages (company_id, conversation_id, content)"
                " values (%s, %s, 'Soy Marce')",
                (site.acme.id, conversation),
            )
        heard = await visitor.listen(lambda heard: "Soy Marce" in texts(heard))
        [marce] = [e.data for e in heard if e.kind == "message" and e.data["text"] == "Soy Marce"]
        assert (marce["sender"], marce["name"]) == ("human", "Operador")
        await settled(site.urls.admin)


async def test_after_a_silent_conversation_has_ended_the_next_message_is_heard_in_a_new_one(
    site: Site,
) -> None:
    visitor = await site.visitor()
    for words in ("uno", "dos", "tres"):
        first = await visitor.says(words)
    await visitor.listen(lambda heard: len(texts(heard)) == 3)
    with psycopg.connect(site.urls.admin) as db:
        db.execute("delete from reply_requests")
        db.execute("update conversations set last_message_at = now() - interval '25 hours'")
        assert db.execute("select private.close_idle_conversations()").fetchone() == (1,)
    # The page was closed meanwhile, and stands at the third message of the old conversation.
    assert (await visitor.listen(lambda heard: heard[-1].kind == "state"))[-1].data[
        "mode"
    ] == "closed"
    listening = asyncio.create_task(visitor.listen(lambda heard: bool(texts(heard))))
    again = await visitor.says("cuatro")
    assert texts(await listening) == ["cuatro"]
    assert again["conversation_id"] != first["conversation_id"]
    assert again["seq"] == 1
